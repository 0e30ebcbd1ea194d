-- Forget a destination that nothing waits for.
DELETE FROM destinations
WHERE exchange = $1 AND routing_key = $2 AND NOT EXISTS (
    SELECT FROM waiting_messages AS waiting
    WHERE waiting.exchange = destinations.exchange AND waiting.routing_key = destinations.routing_key
)
