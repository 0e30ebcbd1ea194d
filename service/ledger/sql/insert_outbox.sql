-- Store the further messages of a batch.
INSERT INTO outbox (
    batch_id, position, command_id, kind, record_kind, record_id, exchange, routing_key, mandatory, message_id,
    message_type, subject, correlation_id, time, body
)
SELECT *
FROM unnest(
    $1::bigint[], $2::int[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::boolean[],
    $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::bytea[]
)
