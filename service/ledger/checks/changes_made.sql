-- Every accepted command that the ledger remembers has changed a record: the history has a change of it.
SELECT ledger.id::text AS record, 'it was told that it succeeded, but no record has a change of it' AS found
FROM ledger
WHERE verdict = 'succeeded' AND NOT EXISTS (SELECT FROM changes WHERE changes.command_id = ledger.id)
LIMIT 10
