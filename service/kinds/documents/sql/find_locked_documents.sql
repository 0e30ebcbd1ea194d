-- Those of some documents that another transaction has locked: exclusively or shared if they may change ($1), exclusively if
-- they are only read ($2). Waits for none of them.
WITH changeable AS MATERIALIZED (
    SELECT id FROM documents WHERE id = ANY ($1::text[]) FOR NO KEY UPDATE SKIP LOCKED
),
readable AS MATERIALIZED (
    SELECT id FROM documents WHERE id = ANY ($2::text[]) FOR SHARE SKIP LOCKED
)
SELECT id FROM documents WHERE id = ANY ($1::text[]) AND id NOT IN (SELECT id FROM changeable)
UNION
SELECT id FROM documents WHERE id = ANY ($2::text[]) AND id NOT IN (SELECT id FROM readable)
