-- Change documents that still have the generation that was read. Fewer rows than documents: one has moved on.
UPDATE documents
SET generation = new.generation,
    sequence = new.sequence,
    body = new.body::json,
    maker_id = new.maker_id,
    maker_type = new.maker_type,
    maker_source = new.maker_source,
    maker_time = new.maker_time,
    maker_user = new.maker_user,
    maker_user_of = new.maker_id,
    state_hash = hash_record_extended(ROW(
        new.id, new.generation, new.sequence, new.body, new.maker_id, new.maker_type, new.maker_source, new.maker_time,
        new.maker_user
    ), 0)
FROM unnest(
    $1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::bigint[]
) AS new (
    id, generation, sequence, body, maker_id, maker_type, maker_source, maker_time, maker_user, expected_generation
)
WHERE documents.id = new.id
  AND documents.generation = new.expected_generation
