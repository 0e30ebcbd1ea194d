-- Add or replace inventories of providers that are locked.
INSERT INTO inventories (
    provider_id, resource_class, total, reserved, min_unit, max_unit, step_size, allocation_ratio
)
SELECT *
FROM unnest(
    $1::uuid[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::integer[], $7::integer[],
    $8::double precision[]
) AS new (provider_id, resource_class, total, reserved, min_unit, max_unit, step_size, allocation_ratio)
ORDER BY provider_id, resource_class COLLATE "C"
ON CONFLICT (provider_id, resource_class) DO UPDATE
SET total = excluded.total,
    reserved = excluded.reserved,
    min_unit = excluded.min_unit,
    max_unit = excluded.max_unit,
    step_size = excluded.step_size,
    allocation_ratio = excluded.allocation_ratio
