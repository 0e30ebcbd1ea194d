-- Add inventories to providers that are locked. Fewer rows than inventories: one was there.
INSERT INTO inventories (
    provider_id, resource_class, total, reserved, min_unit, max_unit, step_size, allocation_ratio, used
)
SELECT *
FROM unnest(
    $1::uuid[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::integer[], $7::integer[],
    $8::double precision[], $9::bigint[]
) AS new (provider_id, resource_class, total, reserved, min_unit, max_unit, step_size, allocation_ratio, used)
ORDER BY provider_id, resource_class COLLATE "C"
ON CONFLICT DO NOTHING
