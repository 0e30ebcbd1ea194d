-- A page of the sums of a project's allocations, by the type of its live consumers. Allocations are looked up for each
-- consumer of the page: without OFFSET the planner would flatten that subquery, and read the allocations of all projects
-- if this one has a tenth of them. It ends with the row that is past $6 bytes.
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
    SELECT usage_type, consumer_count, resource_class, sum(amount)::bigint AS amount
    FROM page
    JOIN chosen USING (usage_type)
    CROSS JOIN LATERAL (
        SELECT resource_class, amount FROM allocations WHERE consumer_id = chosen.id OFFSET 0
    ) AS allocation
    GROUP BY usage_type, consumer_count, resource_class
)
SELECT usage_type, consumer_count, resources
FROM (
    SELECT *, sum(octet_length(resources::text)) OVER (ORDER BY usage_type) AS bytes_so_far
    FROM (
        SELECT usage_type, consumer_count, json_object_agg(resource_class, amount ORDER BY resource_class) AS resources
        FROM sums
        GROUP BY usage_type, consumer_count
    ) AS summed
) AS counted
WHERE bytes_so_far - octet_length(resources::text) <= $6
ORDER BY usage_type
