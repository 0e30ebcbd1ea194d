-- Remove inventories of providers that are locked.
DELETE FROM inventories
USING unnest($1::uuid[], $2::text[]) AS gone (provider_id, resource_class)
WHERE inventories.provider_id = gone.provider_id AND inventories.resource_class = gone.resource_class
