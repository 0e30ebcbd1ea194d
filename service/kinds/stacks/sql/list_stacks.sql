-- A page of live stacks, by id, without their templates, which a list does not show. Null stands for a filter that is
-- not set.
SELECT
    id, sequence, name, action, status, status_reason, traversal, previous_traversal,
    '{}' AS template, NULL AS previous_template, disable_rollback, timeout_s, maker_id, maker_type, maker_source, maker_time
FROM stacks
WHERE NOT (action = 'DELETE' AND status = 'COMPLETE')
  AND ($1::text IS NULL OR id = (SELECT record_id::uuid FROM names WHERE kind = 'stack' AND names.name = $1))
  AND ($2::text IS NULL OR action = $2)
  AND ($3::text IS NULL OR status = $3)
  AND ($4::uuid IS NULL OR id > $4)
ORDER BY id
LIMIT $5
