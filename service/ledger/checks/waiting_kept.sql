-- Every message that waits for a queue has a destination that will be tried, and its bytes are kept.
SELECT format('waiting message %s', waiting.id) AS record,
    CASE
        WHEN destinations.exchange IS NULL THEN 'its destination is not going to be tried'
        ELSE 'neither the ledger nor the outbox has its bytes'
    END AS found
FROM waiting_messages AS waiting
LEFT JOIN destinations ON destinations.exchange = waiting.exchange AND destinations.routing_key = waiting.routing_key
WHERE destinations.exchange IS NULL
    OR (waiting.batch_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM outbox WHERE outbox.batch_id = waiting.batch_id AND outbox.position = waiting.position
    ))
    OR (waiting.ledger_id IS NOT NULL AND NOT EXISTS (SELECT FROM ledger WHERE ledger.id = waiting.ledger_id))
LIMIT 10
