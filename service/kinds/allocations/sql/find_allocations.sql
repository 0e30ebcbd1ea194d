-- The allocations of these consumers: as of now, so the locks come first.
SELECT consumer_id, provider_id, resource_class, amount
FROM allocations
WHERE consumer_id = ANY ($1::uuid[])
LIMIT $2
