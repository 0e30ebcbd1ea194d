-- Claim the destination that has been due for longest. Until the claim expires no other replica tries it.
-- One that is further away than the longest pause, $2, was put off when the clock was ahead: it is due too.
UPDATE destinations
SET next_at = clock_timestamp() + $1::interval
WHERE (exchange, routing_key) = (
    SELECT exchange, routing_key
    FROM (
        SELECT *
        FROM (
            SELECT exchange, routing_key
            FROM destinations
            WHERE next_at <= clock_timestamp()
            ORDER BY next_at
            LIMIT 1
            FOR UPDATE SKIP LOCKED
        ) AS due
        UNION ALL
        SELECT *
        FROM (
            SELECT exchange, routing_key
            FROM destinations
            WHERE next_at > clock_timestamp() + $2::interval
            ORDER BY next_at DESC
            LIMIT 1
            FOR UPDATE SKIP LOCKED
        ) AS misdated
    ) AS either
    LIMIT 1
)
RETURNING exchange, routing_key, tries
