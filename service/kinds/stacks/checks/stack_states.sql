-- Every stack is as its changes left it: the change that started its run is its maker and tells its action, the last one
-- tells its status, and unless an older version wrote it, all that it holds is what was hashed then.
SELECT
    stacks.id::text AS record,
    CASE
        WHEN (maker_id, maker_type, maker_source, maker_time, maker.user_name)
            IS DISTINCT FROM (run.command_id, run.command_type, run.command_source, run.decided_at, run.command_user)
        THEN format('its maker is %s (%s), and its run was started by %s (%s)',
            maker_id, maker_type, run.command_id, run.command_type)
        WHEN told.run_action <> action OR NOT status = ANY (told.statuses)
        THEN format('it is in %s %s, its run was started by %s, and its last change is %s',
            action, status, run.command_type, last.command_type)
        ELSE format('its content is not the one of its change %s', stacks.sequence)
    END AS found
FROM stacks
JOIN changes AS last USING (sequence)
LEFT JOIN changes AS run
    ON run.kind = 'stack' AND run.record_id = last.record_id AND run.token = last.token AND run.token = run.command_id::text
CROSS JOIN LATERAL (
    SELECT
        -- A cancelled run keeps the action of the one before.
        CASE run.command_type
            WHEN 'stack.create' THEN 'CREATE'
            WHEN 'stack.update' THEN 'UPDATE'
            WHEN 'stack.delete' THEN 'DELETE'
            WHEN 'stack.rollback' THEN 'ROLLBACK'
            WHEN 'stack.set_state' THEN 'ROLLBACK'
        END AS run_action,
        CASE
            WHEN last.command_type = 'stack.cancel' THEN '{FAILED}'::text[]
            WHEN last.command_type = 'stack.set_state' AND last.command_id <> run.command_id THEN '{COMPLETE,FAILED}'
            ELSE '{IN_PROGRESS}'
        END AS statuses
) AS told
CROSS JOIN LATERAL (SELECT CASE WHEN maker_user_of = maker_id THEN maker_user END AS user_name) AS maker
WHERE last.kind = 'stack' AND last.record_id = stacks.id::text
    AND (
        (maker_id, maker_type, maker_source, maker_time, maker.user_name)
            IS DISTINCT FROM (run.command_id, run.command_type, run.command_source, run.decided_at, run.command_user)
        OR told.run_action <> action
        OR NOT status = ANY (told.statuses)
        OR last.row_hash IS NOT NULL AND state_hash IS DISTINCT FROM hash_record_extended(ROW(
            id, stacks.sequence, name, action, status, status_reason, traversal, previous_traversal, template::text,
            previous_template::text, disable_rollback, timeout_s, maker_id, maker_type, maker_source, maker_time, maker_user
        ), 0)
    )
LIMIT 10
