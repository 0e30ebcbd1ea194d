-- The providers that these consumers have something of now: a guess until the consumers are locked.
SELECT DISTINCT provider_id FROM allocations WHERE consumer_id = ANY ($1::uuid[])
