-- Create stacks. Fewer rows than stacks: another batch created one meanwhile.
INSERT INTO stacks (
    id, sequence, name, action, status, status_reason, traversal, previous_traversal, template, previous_template,
    disable_rollback, timeout_s, maker_id, maker_type, maker_source, maker_time, maker_user, maker_user_of,
    state_hash
)
SELECT
    id, sequence, name, action, status, status_reason, traversal, previous_traversal, template::json,
    previous_template::json, disable_rollback, timeout_s, maker_id, maker_type, maker_source, maker_time, maker_user,
    maker_id,
    hash_record_extended(ROW(
        id, sequence, name, action, status, status_reason, traversal, previous_traversal, template, previous_template,
        disable_rollback, timeout_s, maker_id, maker_type, maker_source, maker_time, maker_user
    ), 0)
FROM unnest(
    $1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::uuid[],
    $9::text[], $10::text[], $11::boolean[], $12::integer[], $13::uuid[], $14::text[], $15::text[], $16::text[],
    $17::text[]
) AS new (
    id, sequence, name, action, status, status_reason, traversal, previous_traversal, template, previous_template,
    disable_rollback, timeout_s, maker_id, maker_type, maker_source, maker_time, maker_user
)
ORDER BY id
ON CONFLICT DO NOTHING
