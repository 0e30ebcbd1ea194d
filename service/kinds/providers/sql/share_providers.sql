-- Lock and read providers, in the order of their ids: those that may change ($2) exclusively, the others so that other
-- batches may read them too. Where all may change, lock_providers.sql is faster.
-- One before which there are $3 bytes does not fit, and comes without its contents. After them comes a row with the time,
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
        ) < $3 AS fits
    FROM (
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
    ) AS found
) AS counted
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, clock_timestamp()
