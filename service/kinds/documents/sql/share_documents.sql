-- Lock and read documents, in the order of their ids: those that may change ($2) exclusively, the others so that other
-- batches may read them too. Where all may change, lock_documents.sql is faster.
-- One before which there are $3 bytes does not fit, and comes without its contents. After them comes a row with the time,
-- read when all are locked.
SELECT
    id, generation, sequence, CASE WHEN fits THEN body END AS body, maker_id, maker_type, maker_source, maker_time,
    maker_user, fits, NULL AS locked_at
FROM (
    SELECT
        *,
        coalesce(
            sum(octet_length(body::text))
            OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0
        ) < $3 AS fits
    FROM (
        SELECT
            id, generation, sequence, body, maker_id, maker_type, maker_source, maker_time,
            CASE WHEN maker_user_of = maker_id THEN maker_user END AS maker_user
        FROM (SELECT * FROM unnest($1::text[], $2::boolean[]) AS asked (asked_id, changes) ORDER BY asked_id COLLATE "C") AS asked
        CROSS JOIN LATERAL (
            SELECT * FROM (SELECT * FROM documents WHERE id = asked_id AND changes FOR NO KEY UPDATE) AS changed
            UNION ALL
            SELECT * FROM (SELECT * FROM documents WHERE id = asked_id AND NOT changes FOR SHARE) AS shared
        ) AS locked
    ) AS found
) AS counted
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, clock_timestamp()
