-- Change stacks that still have the traversal and the sequence that were read. Fewer rows than stacks: one has moved on.
-- The sequence fences reports too, which leave the traversal as it is.
UPDATE stacks
SET sequence = new.sequence,
    name = new.name,
    action = new.action,
    status = new.status,
    status_reason = new.status_reason,
    traversal = new.traversal,
    previous_traversal = new.previous_traversal,
    template = new.template::json,
    previous_template = new.previous_template::json,
    disable_rollback = new.disable_rollback,
    timeout_s = new.timeout_s,
    maker_id = new.maker_id,
    maker_type = new.maker_type,
    maker_source = new.maker_source,
    maker_time = new.maker_time,
    maker_user = new.maker_user,
    maker_user_of = new.maker_id,
    state_hash = hash_record_extended(ROW(
        new.id, new.sequence, new.name, new.action, new.status, new.status_reason, new.traversal,
        new.previous_traversal, new.template, new.previous_template, new.disable_rollback, new.timeout_s,
        new.maker_id, new.maker_type, new.maker_source, new.maker_time, new.maker_user
    ), 0)
FROM unnest(
    $1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::uuid[],
    $9::text[], $10::text[], $11::boolean[], $12::integer[], $13::uuid[], $14::text[], $15::text[], $16::text[],
    $17::text[], $18::uuid[], $19::bigint[]
) AS new (
    id, sequence, name, action, status, status_reason, traversal, previous_traversal, template, previous_template,
    disable_rollback, timeout_s, maker_id, maker_type, maker_source, maker_time, maker_user,
    expected_traversal, expected_sequence
)
WHERE stacks.id = new.id
  AND stacks.traversal = new.expected_traversal
  AND stacks.sequence = new.expected_sequence
