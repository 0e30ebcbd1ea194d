-- The messages behind a claimed one, in their order: those that share something with it, each with what it waits for. One
-- before which there are $4 bytes of others is left out.
SELECT *
FROM (
    SELECT
        position, exchange, routing_key, properties, body, bulk, tries, clock_timestamp() - since AS held_for,
        ARRAY(SELECT record FROM held WHERE held.position = behind.position) AS records,
        sum(octet_length(body)) OVER (ORDER BY position) - octet_length(body) AS bytes_before
    FROM held_messages AS behind
    WHERE position IN (SELECT position FROM held WHERE record = ANY ($1::text[]) AND position > $2)
    ORDER BY position
    LIMIT $3
) AS counted
WHERE bytes_before < $4
ORDER BY position
