-- Lock and read consumers, in the order of their ids. Their allocations are read after that.
-- After them comes a row with the time alone, read when all are locked.
SELECT found.*, NULL AS locked_at
FROM (
    SELECT
        id, generation, sequence, project_id, user_id, consumer_type, deleted,
        maker_id, maker_type, maker_source, maker_time,
        CASE WHEN maker_user_of = maker_id THEN maker_user END AS maker_user
    FROM consumers
    WHERE id = ANY ($1::uuid[])
    ORDER BY id
    FOR NO KEY UPDATE
) AS found
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, clock_timestamp()
