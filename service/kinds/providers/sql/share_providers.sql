-- Lock and read providers, in the order of their ids: those that may change ($2) exclusively, the others so that other
-- batches may read them too. Where all may change, lock_providers.sql is faster.
-- Not those before which there are $3 bytes. After them comes a row with the time, read when all are locked, and with
-- the bytes before the last one.
WITH found AS (
    SELECT
        id, generation, sequence, name, parent_id, traits, aggregates, deleted,
        maker_id, maker_type, maker_source, maker_time,
        CASE WHEN maker_user_of = maker_id THEN maker_user END AS maker_user
    FROM (SELECT * FROM unnest($1::uuid[], $2::boolean[]) AS asked (asked_id, changes) ORDER BY asked_id) AS asked
    CROSS JOIN LATERAL (
        SELECT * FROM (SELECT * FROM providers WHERE id = asked_id AND changes FOR NO KEY UPDATE) AS changed
        UNION ALL
        SELECT * FROM (SELECT * FROM providers WHERE id = asked_id AND NOT changes FOR SHARE) AS shared
    ) AS locked
),
counted AS (
    SELECT
        *,
        coalesce(
            sum(50 * cardinality(traits) + 100 * cardinality(aggregates))
            OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0
        ) AS bytes_before
    FROM found
)
SELECT counted.*, NULL AS locked_at FROM counted WHERE bytes_before < $3
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    (SELECT max(bytes_before) FROM counted), clock_timestamp()
