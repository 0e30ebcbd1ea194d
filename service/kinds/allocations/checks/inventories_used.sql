-- The use of every inventory is the sum of its allocations, every allocation has an inventory, and that a live provider.
SELECT
    provider_id::text AS record,
    format('the provider %s; of %s it has used %s, and allocated are %s',
        CASE WHEN providers.deleted THEN 'is deleted' WHEN providers.id IS NULL THEN 'never was' ELSE 'is live' END,
        resource_class, coalesce(inventory.used::text, 'no inventory'), coalesce(allocated.amount, 0)) AS found
FROM inventories AS inventory
FULL JOIN (
    SELECT provider_id, resource_class, sum(amount) AS amount FROM allocations GROUP BY provider_id, resource_class
) AS allocated USING (provider_id, resource_class)
LEFT JOIN providers ON providers.id = provider_id
WHERE inventory.used IS DISTINCT FROM coalesce(allocated.amount, 0)
   OR providers.deleted IS DISTINCT FROM false
LIMIT 10
