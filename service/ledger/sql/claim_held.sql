-- Claim the held message that has been due for longest, of those that are behind no other. Until the claim expires no
-- other replica tries it. One that is further away than the longest pause, $2, was put off when the clock was ahead: it is
-- due too.
UPDATE held_messages
SET next_at = clock_timestamp() + $1::interval
WHERE position = (
    SELECT position
    FROM held_messages AS due
    WHERE next_at < 'infinity' AND (next_at <= clock_timestamp() OR next_at > clock_timestamp() + $2::interval)
      AND NOT EXISTS (
        SELECT FROM held AS own JOIN held AS before ON before.record = own.record AND before.position < own.position
        WHERE own.position = due.position
      )
    ORDER BY next_at
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING
    position, exchange, routing_key, properties, body, bulk, tries,
    clock_timestamp() - since AS held_for,
    ARRAY(SELECT record FROM held WHERE held.position = held_messages.position) AS records
