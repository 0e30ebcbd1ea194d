-- Lock held messages that are to be dropped, each with what it waits for. Waits for a replica that is deciding one.
SELECT
    position, exchange, routing_key, properties, body, bulk, tries, clock_timestamp() - since AS held_for,
    ARRAY(SELECT record FROM held WHERE held.position = held_messages.position) AS records
FROM held_messages
WHERE position = ANY ($1::bigint[])
ORDER BY position
FOR UPDATE
