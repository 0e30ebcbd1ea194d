-- Every verdict is the one that its event tells, and every accepted command that the ledger remembers succeeded.
SELECT ledger.id::text AS record, format('the verdict is %s, the event says %s', verdict, event::json ->> 'type') AS found
FROM ledger
WHERE event::json ->> 'type' NOT LIKE '%.' || verdict
UNION ALL
SELECT ledger.id::text, format('the verdict is %s, but it has changed the %s %s', verdict, kind, record_id)
FROM changes
JOIN ledger ON ledger.id = changes.command_id
WHERE verdict <> 'succeeded'
LIMIT 10
