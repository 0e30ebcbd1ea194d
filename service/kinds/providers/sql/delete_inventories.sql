-- Remove inventories of which as much is used as was read. Fewer rows: something was taken or given back meanwhile.
DELETE FROM inventories
USING unnest($1::uuid[], $2::text[], $3::bigint[]) AS gone (provider_id, resource_class, expected_used)
WHERE inventories.provider_id = gone.provider_id
  AND inventories.resource_class = gone.resource_class
  AND inventories.used = gone.expected_used
