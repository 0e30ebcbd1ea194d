-- Lock and read consumers, in the order of their ids: those that may change ($2) exclusively, the others so that other
-- batches may read them too. Where all may change, lock_consumers.sql is faster.
-- After them comes a row with the time alone, read when all are locked.
SELECT found.*, NULL AS locked_at
FROM (
    SELECT
        id, generation, sequence, project_id, user_id, consumer_type, deleted,
        maker_id, maker_type, maker_source, maker_time,
        CASE WHEN maker_user_of = maker_id THEN maker_user END AS maker_user
    FROM (SELECT * FROM unnest($1::uuid[], $2::boolean[]) AS asked (asked_id, changes) ORDER BY asked_id) AS asked
    CROSS JOIN LATERAL (
        SELECT * FROM (SELECT * FROM consumers WHERE id = asked_id AND changes FOR NO KEY UPDATE) AS changed
        UNION ALL
        SELECT * FROM (SELECT * FROM consumers WHERE id = asked_id AND NOT changes FOR SHARE) AS shared
    ) AS locked
) AS found
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, clock_timestamp()
