-- Change providers that still have the generation that was read. Fewer rows than providers: one has moved on.
UPDATE providers
SET generation = new.generation,
    sequence = new.sequence,
    name = new.name,
    parent_id = new.parent_id,
    traits = string_to_array(new.traits, ' '),
    aggregates = string_to_array(new.aggregates, ' ')::uuid[],
    deleted = new.deleted,
    maker_id = new.maker_id,
    maker_type = new.maker_type,
    maker_source = new.maker_source,
    maker_time = new.maker_time,
    maker_user = new.maker_user,
    maker_user_of = new.maker_id,
    state_hash = hash_record_extended(ROW(
        new.id, new.generation, new.sequence, new.name, new.parent_id, new.traits, new.aggregates, new.deleted,
        new.maker_id, new.maker_type, new.maker_source, new.maker_time, new.maker_user, new.inventories
    ), 0)
FROM unnest(
    $1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::boolean[],
    $9::uuid[], $10::text[], $11::text[], $12::text[], $13::text[],
    $14::text[], $15::bigint[]
) AS new (
    id, generation, sequence, name, parent_id, traits, aggregates, deleted,
    maker_id, maker_type, maker_source, maker_time, maker_user, inventories, expected_generation
)
WHERE providers.id = new.id
  AND providers.generation = new.expected_generation
