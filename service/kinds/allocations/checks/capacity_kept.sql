-- More is used than the capacity only where set_inventories, put_inventory or reshape has changed the provider after the
-- first command on consumers that touched it: history keeps no amounts, and this is as much as it can prove.
SELECT
    over.provider_id::text AS record,
    format('%s of its %s are used, and the capacity is %s', over.used, over.resource_class, over.capacity) AS found
FROM (
    SELECT provider_id, resource_class, used, floor((total - reserved) * allocation_ratio) AS capacity
    FROM inventories
    WHERE used > (total - reserved) * allocation_ratio
) AS over
CROSS JOIN LATERAL (
    SELECT coalesce(max(sequence), 0) AS sequence
    FROM changes
    WHERE kind = 'provider' AND record_id = over.provider_id::text AND command_type = 'provider.create'
) AS made
CROSS JOIN LATERAL (
    SELECT min(sequence) AS sequence
    FROM changes
    WHERE kind = 'provider' AND record_id = over.provider_id::text AND sequence > made.sequence
      AND command_type IN ('consumer.set_allocations', 'consumer.set_many', 'consumer.reshape')
) AS touched
WHERE NOT EXISTS (
    SELECT
    FROM changes
    WHERE kind = 'provider' AND record_id = over.provider_id::text AND sequence > touched.sequence
      AND command_type IN ('provider.set_inventories', 'provider.put_inventory', 'consumer.reshape')
)
LIMIT 10
