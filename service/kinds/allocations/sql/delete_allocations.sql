-- Remove allocations of consumers that are locked.
DELETE FROM allocations
USING unnest($1::uuid[], $2::uuid[], $3::text[]) AS gone (consumer_id, provider_id, resource_class)
WHERE allocations.consumer_id = gone.consumer_id
  AND allocations.provider_id = gone.provider_id
  AND allocations.resource_class = gone.resource_class
