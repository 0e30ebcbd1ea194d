-- Serialize the batches that want one of these names until they end. The keys come sorted and are locked in that order.
SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key
