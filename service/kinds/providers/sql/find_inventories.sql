-- The inventories of these providers, one JSON object for each provider, and what is used of them: as of now, so the
-- locks come first.
SELECT
    provider_id,
    json_object_agg(resource_class, json_build_object(
        'total', total, 'reserved', reserved, 'min_unit', min_unit, 'max_unit', max_unit,
        'step_size', step_size, 'allocation_ratio', allocation_ratio
    )) AS inventories,
    json_object_agg(resource_class, used) FILTER (WHERE used > 0) AS used
FROM inventories
WHERE provider_id = ANY ($1::uuid[])
GROUP BY provider_id
