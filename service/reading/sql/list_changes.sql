-- A page of a record's accepted commands, oldest first.
SELECT sequence, token, command_id, command_type, command_source, command_user, decided_at
FROM changes
WHERE kind = $1 AND record_id = $2 AND sequence > $3
ORDER BY sequence
LIMIT $4
