-- The messages that wait for a destination, those that were refused least often first: one at least, and no more bytes
-- than the limit. `bytes` is null where the message was forgotten meanwhile.
SELECT *
FROM (
    SELECT *, sum(octet_length(bytes)) OVER (ORDER BY tries, waiting_id) AS bytes_so_far
    FROM (
        SELECT
            waiting.id AS waiting_id, waiting.tries, waiting.mandatory AS must_route, waiting.properties,
            coalesce(convert_to(ledger.event, 'UTF8'), outbox.body, waiting.body) AS bytes, outbox.*
        FROM waiting_messages AS waiting
        LEFT JOIN ledger ON ledger.id = waiting.ledger_id
        LEFT JOIN outbox ON outbox.batch_id = waiting.batch_id AND outbox.position = waiting.position
        WHERE waiting.exchange = $1 AND waiting.routing_key = $2
        ORDER BY waiting.tries, waiting.id
        LIMIT $3
    ) AS first
) AS counted
WHERE bytes_so_far IS NULL OR bytes_so_far - octet_length(bytes) < $4 OR bytes IS NULL
ORDER BY tries, waiting_id
