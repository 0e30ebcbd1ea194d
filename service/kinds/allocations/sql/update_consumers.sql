-- Change consumers that still have the generation that was read. Fewer rows than consumers: one has moved on.
UPDATE consumers
SET generation = new.generation,
    sequence = new.sequence,
    project_id = new.project_id,
    user_id = new.user_id,
    consumer_type = new.consumer_type,
    deleted = new.deleted,
    maker_id = new.maker_id,
    maker_type = new.maker_type,
    maker_source = new.maker_source,
    maker_time = new.maker_time,
    maker_user = new.maker_user,
    maker_user_of = new.maker_id,
    state_hash = hash_record_extended(ROW(
        new.id, new.generation, new.sequence, new.project_id, new.user_id, new.consumer_type, new.deleted,
        new.maker_id, new.maker_type, new.maker_source, new.maker_time, new.maker_user, new.allocations
    ), 0)
FROM unnest(
    $1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::boolean[],
    $8::uuid[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::bigint[]
) AS new (
    id, generation, sequence, project_id, user_id, consumer_type, deleted,
    maker_id, maker_type, maker_source, maker_time, maker_user, allocations, expected_generation
)
WHERE consumers.id = new.id
  AND consumers.generation = new.expected_generation
