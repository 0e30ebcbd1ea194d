-- Every further message in the outbox belongs to a command of its batch that the ledger has, or waits for a queue to take it.
SELECT format('message %s', message_id) AS record,
    format('it is in the outbox for command %s of batch %s, which the ledger does not have', command_id, batch_id) AS found
FROM outbox
WHERE NOT EXISTS (SELECT FROM ledger WHERE ledger.id = outbox.command_id AND ledger.batch_id = outbox.batch_id)
    AND NOT EXISTS (
        SELECT FROM waiting_messages AS waiting
        WHERE waiting.batch_id = outbox.batch_id AND waiting.position = outbox.position
    )
LIMIT 10
