-- The providers that these consumers have something of now: a guess until the consumers are locked. OFFSET 0 keeps the limit
-- from choosing the plan: it would walk the whole index of providers.
SELECT DISTINCT provider_id
FROM (SELECT provider_id FROM allocations WHERE consumer_id = ANY ($1::uuid[]) OFFSET 0) AS allocated
LIMIT $2
