-- Add or replace allocations of consumers that are locked.
INSERT INTO allocations (consumer_id, provider_id, resource_class, amount)
SELECT *
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::integer[])
    AS new (consumer_id, provider_id, resource_class, amount)
ORDER BY consumer_id, provider_id, resource_class COLLATE "C"
ON CONFLICT (consumer_id, provider_id, resource_class) DO UPDATE
SET amount = excluded.amount
