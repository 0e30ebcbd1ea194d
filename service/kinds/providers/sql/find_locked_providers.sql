-- Those of some providers that another transaction has locked: exclusively or shared if they may change ($1), exclusively if
-- they are only read ($2). Waits for none of them.
WITH changeable AS MATERIALIZED (
    SELECT id FROM providers WHERE id = ANY ($1::uuid[]) FOR NO KEY UPDATE SKIP LOCKED
),
readable AS MATERIALIZED (
    SELECT id FROM providers WHERE id = ANY ($2::uuid[]) FOR SHARE SKIP LOCKED
)
SELECT id FROM providers WHERE id = ANY ($1::uuid[]) AND id NOT IN (SELECT id FROM changeable)
UNION
SELECT id FROM providers WHERE id = ANY ($2::uuid[]) AND id NOT IN (SELECT id FROM readable)
