-- The commands among these that are decided already, with their events.
SELECT id, content_hash, event
FROM ledger
WHERE id = ANY ($1::uuid[])
