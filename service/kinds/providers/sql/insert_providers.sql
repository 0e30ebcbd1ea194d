-- Create providers. Fewer rows than providers: another batch created one meanwhile.
INSERT INTO providers (
    id, generation, sequence, name, parent_id, traits, aggregates, deleted,
    maker_id, maker_type, maker_source, maker_time, maker_user, maker_user_of, state_hash
)
SELECT
    id, generation, sequence, name, parent_id, string_to_array(traits, ' '), string_to_array(aggregates, ' ')::uuid[],
    deleted, maker_id, maker_type, maker_source, maker_time, maker_user, maker_id,
    hash_record_extended(ROW(
        id, generation, sequence, name, parent_id, traits, aggregates, deleted,
        maker_id, maker_type, maker_source, maker_time, maker_user, inventories
    ), 0)
FROM unnest(
    $1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::boolean[],
    $9::uuid[], $10::text[], $11::text[], $12::text[], $13::text[],
    $14::text[]
) AS new (
    id, generation, sequence, name, parent_id, traits, aggregates, deleted,
    maker_id, maker_type, maker_source, maker_time, maker_user, inventories
)
ORDER BY id
ON CONFLICT DO NOTHING
