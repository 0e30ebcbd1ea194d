-- Create documents. Fewer rows than documents: another batch created one meanwhile.
INSERT INTO documents (
    id, generation, sequence, body, maker_id, maker_type, maker_source, maker_time, maker_user, maker_user_of, state_hash
)
SELECT
    id, generation, sequence, body::json, maker_id, maker_type, maker_source, maker_time, maker_user, maker_id,
    hash_record_extended(ROW(
        id, generation, sequence, body, maker_id, maker_type, maker_source, maker_time, maker_user
    ), 0)
FROM unnest(
    $1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[]
) AS new (id, generation, sequence, body, maker_id, maker_type, maker_source, maker_time, maker_user)
ORDER BY id COLLATE "C"
ON CONFLICT DO NOTHING
