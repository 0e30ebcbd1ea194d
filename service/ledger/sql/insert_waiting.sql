-- Keep messages that the broker refused. An outcome that is in the ledger with these bytes is kept by its id alone, and a
-- further message by its place in the outbox. One that waits already waits once.
INSERT INTO waiting_messages (exchange, routing_key, mandatory, properties, ledger_id, batch_id, position, body)
SELECT
    new.exchange, new.routing_key, new.mandatory, new.properties, ledger.id, new.batch_id, new.position,
    CASE WHEN ledger.id IS NULL AND new.batch_id IS NULL THEN new.body END
FROM unnest(
    $1::text[], $2::text[], $3::boolean[], $4::bytea[], $5::uuid[], $6::bigint[], $7::int[], $8::bytea[]
) WITH ORDINALITY AS new (exchange, routing_key, mandatory, properties, ledger_id, batch_id, position, body, number)
LEFT JOIN ledger ON ledger.id = new.ledger_id AND convert_to(ledger.event, 'UTF8') = new.body
ORDER BY number
ON CONFLICT DO NOTHING
