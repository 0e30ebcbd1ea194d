-- The commands among these that are decided already, with their events, each with the time by the clock of the database.
-- Where there is none, that time alone.
SELECT clock_timestamp() AS told_at, ledger.id, ledger.content_hash, ledger.event
FROM (SELECT) AS once
LEFT JOIN ledger ON ledger.id = ANY ($1::uuid[])
