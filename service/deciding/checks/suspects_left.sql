-- No command that was decided and confirmed more than an hour ago is suspected of ending processes.
SELECT suspects.id::text AS record, format('it was decided in batch %s, at %s', batches.id, decided_at) AS found
FROM suspects
JOIN ledger USING (id)
JOIN batches ON batches.id = ledger.batch_id
WHERE confirmed_at < now() - interval '1 hour'
LIMIT 10
