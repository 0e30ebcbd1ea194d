-- Write one row for each accepted command of each record. Fewer rows: another command took a sequence number.
INSERT INTO changes (
    kind, record_id, sequence, token, command_id, command_type, command_source, decided_at, command_user, row_hash
)
SELECT
    new.*,
    hash_record_extended(ROW(
        kind, record_id, sequence, token, command_id, command_type, command_source, decided_at, command_user
    ), 0)
FROM unnest(
    $1::text[], $2::text[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[]
) AS new (kind, record_id, sequence, token, command_id, command_type, command_source, decided_at, command_user)
ORDER BY kind, record_id COLLATE "C", sequence
ON CONFLICT DO NOTHING
