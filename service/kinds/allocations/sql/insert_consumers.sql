-- Create consumers. Fewer rows than consumers: another batch created one meanwhile.
INSERT INTO consumers (
    id, generation, sequence, project_id, user_id, consumer_type, deleted,
    maker_id, maker_type, maker_source, maker_time, maker_user, maker_user_of, state_hash
)
SELECT
    id, generation, sequence, project_id, user_id, consumer_type, deleted,
    maker_id, maker_type, maker_source, maker_time, maker_user, maker_id,
    hash_record_extended(ROW(
        id, generation, sequence, project_id, user_id, consumer_type, deleted,
        maker_id, maker_type, maker_source, maker_time, maker_user, allocations
    ), 0)
FROM unnest(
    $1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::boolean[],
    $8::uuid[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[]
) AS new (
    id, generation, sequence, project_id, user_id, consumer_type, deleted,
    maker_id, maker_type, maker_source, maker_time, maker_user, allocations
)
ORDER BY id
ON CONFLICT DO NOTHING
