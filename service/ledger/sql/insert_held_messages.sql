-- Hold messages, behind those that are held already. One that is held already is held once.
INSERT INTO held_messages (command_id, copy, exchange, routing_key, properties, body, bulk, why, next_at)
SELECT command_id, copy, exchange, routing_key, properties, body, bulk, why, clock_timestamp()
FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::bytea[], $5::bytea[], $6::bytea[], $7::boolean[], $8::text[])
    WITH ORDINALITY AS new (command_id, copy, exchange, routing_key, properties, body, bulk, why, number)
ORDER BY number
ON CONFLICT DO NOTHING
RETURNING position, command_id
