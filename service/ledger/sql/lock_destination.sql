-- Keep others from adding messages to a destination, or trying it, until the transaction ends.
SELECT FROM destinations WHERE exchange = $1 AND routing_key = $2 FOR UPDATE
