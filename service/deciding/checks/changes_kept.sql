-- Every change in the history is the one that was written, unless an older version wrote it.
SELECT kind || ' ' || record_id AS record, format('change %s is not as it was written', sequence) AS found
FROM changes
WHERE row_hash <> hash_record_extended(ROW(
    kind, record_id, sequence, token, command_id, command_type, command_source, decided_at, command_user
), 0)
LIMIT 10
