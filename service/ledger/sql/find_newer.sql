-- Those of the commands, unknown to this program, that a newer program can decide and none has decided yet.
SELECT new.id
FROM unnest($1::uuid[], $2::text[]) AS new (id, type)
JOIN command_types ON command_types.name = new.type
WHERE NOT EXISTS (SELECT FROM ledger WHERE ledger.id = new.id)
