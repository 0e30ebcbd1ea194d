-- Lock and read stacks, in the order of their ids.
SELECT
    id, sequence, name, action, status, status_reason, traversal, previous_traversal, template, previous_template,
    disable_rollback, timeout_s, maker_id, maker_type, maker_source, maker_time
FROM stacks
WHERE id = ANY ($1::uuid[])
ORDER BY id
FOR NO KEY UPDATE
