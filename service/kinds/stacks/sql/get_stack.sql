-- A live stack.
SELECT
    id, sequence, name, action, status, status_reason, traversal, previous_traversal, template, previous_template,
    disable_rollback, timeout_s, maker_id, maker_type, maker_source, maker_time
FROM stacks
WHERE id = $1 AND NOT (action = 'DELETE' AND status = 'COMPLETE')
