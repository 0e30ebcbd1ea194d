-- Change inventories of which as much is used as was read. Where no command of the batch replaced the inventory itself,
-- no more than its capacity may be used, unless even more was; where one did, what may be used followed from that one.
-- Fewer rows than inventories: something was taken or given back meanwhile.
UPDATE inventories
SET total = new.total,
    reserved = new.reserved,
    min_unit = new.min_unit,
    max_unit = new.max_unit,
    step_size = new.step_size,
    allocation_ratio = new.allocation_ratio,
    used = new.used
FROM unnest(
    $1::uuid[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::integer[], $7::integer[],
    $8::double precision[], $9::bigint[], $10::bigint[], $11::boolean[]
) AS new (
    provider_id, resource_class, total, reserved, min_unit, max_unit, step_size, allocation_ratio, used,
    expected_used, replaced
)
WHERE inventories.provider_id = new.provider_id
  AND inventories.resource_class = new.resource_class
  AND inventories.used = new.expected_used
  AND (
    new.replaced
    OR new.used <= inventories.used
    OR new.used <= (inventories.total - inventories.reserved) * inventories.allocation_ratio
  )
