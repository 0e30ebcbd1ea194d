-- The held messages in their order, each with what it waits for: all, those with some commands, or those that wait for one
-- record.
SELECT
    position, command_id, routing_key, since, tries, why,
    ARRAY(SELECT record FROM held WHERE held.position = held_messages.position ORDER BY record) AS records
FROM held_messages
WHERE ($2::uuid[] IS NULL OR command_id = ANY ($2))
  AND ($3::text IS NULL OR position IN (SELECT position FROM held WHERE record = $3))
ORDER BY position
LIMIT $1
