-- Have destinations tried again after a while, or leave them as they are. Locks them, so that none is removed meanwhile.
INSERT INTO destinations (exchange, routing_key, next_at)
SELECT new.exchange, new.routing_key, clock_timestamp() + $3::interval
FROM unnest($1::text[], $2::text[]) AS new (exchange, routing_key)
ON CONFLICT (exchange, routing_key) DO UPDATE SET tries = destinations.tries
