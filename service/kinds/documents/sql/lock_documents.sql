-- Lock and read documents, in the order of their ids.
-- One before which there are $2 bytes does not fit, and comes without its contents. After them comes a row with the time,
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
        ) < $2 AS fits
    FROM (
        SELECT
            id, generation, sequence, body, maker_id, maker_type, maker_source, maker_time,
            CASE WHEN maker_user_of = maker_id THEN maker_user END AS maker_user
        FROM documents
        WHERE id = ANY ($1::text[])
        ORDER BY id
        FOR NO KEY UPDATE
    ) AS found
) AS counted
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, clock_timestamp()
