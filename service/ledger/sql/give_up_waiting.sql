-- Give up messages that have waited since before a time and have no other row: answers and replies. A slice.
DELETE FROM waiting_messages
WHERE id = ANY (ARRAY(
    SELECT id
    FROM (SELECT id, since FROM waiting_messages WHERE body IS NOT NULL ORDER BY id LIMIT $2) AS oldest
    WHERE since < $1::timestamptz
))
