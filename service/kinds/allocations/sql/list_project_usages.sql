-- A page of what the live consumers of a project have in all, by their type. The allocations are looked up for each
-- consumer: without OFFSET the planner would take that subquery apart, and read everybody's allocations where a project
-- has a tenth of them.
WITH chosen AS MATERIALIZED (
    SELECT id, usage_type
    FROM (
        SELECT id, CASE WHEN $3 = 'all' THEN $3 ELSE coalesce(consumer_type, 'unknown') END COLLATE "C" AS usage_type
        FROM consumers
        WHERE project_id = $1 AND NOT deleted AND ($2::text IS NULL OR user_id = $2)
    ) AS typed
    WHERE ($3::text IS NULL OR usage_type = $3) AND ($4::text IS NULL OR usage_type > $4)
),
page AS (
    SELECT usage_type, count(*) AS consumer_count
    FROM chosen
    GROUP BY usage_type
    ORDER BY usage_type
    LIMIT $5
),
sums AS (
    SELECT usage_type, resource_class, sum(amount)::bigint AS amount
    FROM chosen
    CROSS JOIN LATERAL (
        SELECT resource_class, amount FROM allocations WHERE consumer_id = chosen.id OFFSET 0
    ) AS allocation
    GROUP BY usage_type, resource_class
)
SELECT usage_type, consumer_count, json_object_agg(resource_class, amount ORDER BY resource_class) AS resources
FROM page
JOIN sums USING (usage_type)
GROUP BY usage_type, consumer_count
ORDER BY usage_type
