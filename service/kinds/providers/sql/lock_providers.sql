-- Lock and read providers, in the order of their ids. What they have of each resource class is read after that.
-- Not those before which there are $2 bytes. After them comes a row with the time, read when all are locked, and with
-- the bytes before the last one.
WITH found AS (
    SELECT
        id, generation, sequence, name, parent_id, traits, aggregates, deleted,
        maker_id, maker_type, maker_source, maker_time,
        CASE WHEN maker_user_of = maker_id THEN maker_user END AS maker_user
    FROM providers
    WHERE id = ANY ($1::uuid[])
    ORDER BY id
    FOR NO KEY UPDATE
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
SELECT counted.*, NULL AS locked_at FROM counted WHERE bytes_before < $2
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    (SELECT max(bytes_before) FROM counted), clock_timestamp()
