-- The inventories of these providers and their use, one JSON object for each provider. Both are as of now, so the locks
-- come first. Each row has how many inventories there are; where these are more than $2, there is one row with that alone.
WITH counted AS MATERIALIZED (
    SELECT count(*) AS inventories_in_all
    FROM (SELECT FROM inventories WHERE provider_id = ANY ($1::uuid[]) LIMIT $2 + 1) AS first
)
SELECT inventories_in_all, provider_id, inventories, used
FROM counted
LEFT JOIN (
    SELECT
        provider_id,
        json_object_agg(resource_class, json_build_object(
            'total', total, 'reserved', reserved, 'min_unit', min_unit, 'max_unit', max_unit,
            'step_size', step_size, 'allocation_ratio', allocation_ratio
        )) AS inventories,
        json_object_agg(resource_class, used) FILTER (WHERE used > 0) AS used
    FROM inventories
    WHERE provider_id = ANY ($1::uuid[]) AND (SELECT inventories_in_all FROM counted) <= $2
    GROUP BY provider_id
) AS found ON true
