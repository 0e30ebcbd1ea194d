-- Every batch older than a minute is noted as confirmed.
SELECT id::text AS record, format('decided at %s and not confirmed yet', decided_at) AS found
FROM batches
WHERE confirmed_at IS NULL AND decided_at < now() - interval '1 minute'
LIMIT 10
