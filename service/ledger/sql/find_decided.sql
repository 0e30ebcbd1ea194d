-- Those of the commands that are decided already, with their events, each with the time of the database's clock, and with
-- its batch if that is unconfirmed. One row with only that time if there is none. An event before which there are $2 bytes
-- of others is null. Each row tells too whether any command is held.
SELECT
    clock_timestamp() AS told_at, EXISTS (SELECT FROM held) AS holding, ledger.id, ledger.content_hash,
    CASE
        WHEN coalesce(sum(octet_length(ledger.event)) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) < $2
        THEN ledger.event
    END AS event,
    (SELECT batches.id FROM batches WHERE batches.id = ledger.batch_id AND confirmed_at IS NULL) AS unconfirmed
FROM (SELECT) AS once
LEFT JOIN ledger ON ledger.id = ANY ($1::uuid[])
