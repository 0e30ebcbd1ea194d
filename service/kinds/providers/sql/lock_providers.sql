-- Lock and read providers, in the order of their ids. What they have of each resource class is read after that.
-- One before which there are $2 bytes does not fit, and comes without its contents. After them comes a row with the time,
-- read when all are locked.
SELECT
    id, generation, sequence, name, parent_id, CASE WHEN fits THEN traits END AS traits,
    CASE WHEN fits THEN aggregates END AS aggregates, deleted, maker_id, maker_type, maker_source, maker_time,
    maker_user, fits, NULL AS locked_at
FROM (
    SELECT
        *,
        coalesce(
            sum(50 * cardinality(traits) + 100 * cardinality(aggregates))
            OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0
        ) < $2 AS fits
    FROM (
        SELECT
            id, generation, sequence, name, parent_id, traits, aggregates, deleted,
            maker_id, maker_type, maker_source, maker_time,
            CASE WHEN maker_user_of = maker_id THEN maker_user END AS maker_user
        FROM providers
        WHERE id = ANY ($1::uuid[])
        ORDER BY id
        FOR NO KEY UPDATE
    ) AS found
) AS counted
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, clock_timestamp()
