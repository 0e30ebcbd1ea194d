-- Every consumer is as its last change left it: that change is its maker, and unless an older version wrote it, its project,
-- user, type and allocations are those that were hashed then.
SELECT
    consumers.id::text AS record,
    CASE
        WHEN (maker_id, maker_type, maker_source, maker_time, maker.user_name)
            IS DISTINCT FROM (last.command_id, last.command_type, last.command_source, last.decided_at, last.command_user)
        THEN format('its maker is %s (%s), and its last change %s (%s)',
            maker_id, maker_type, last.command_id, last.command_type)
        ELSE format('its content is not the one of its change %s', sequence)
    END AS found
FROM consumers
JOIN changes AS last USING (sequence)
LEFT JOIN (
    -- As the service writes it: table.py.
    SELECT
        consumer_id,
        string_agg(
            concat_ws(':', provider_id, resource_class, amount), ' ' ORDER BY provider_id, resource_class
        ) AS listed
    FROM allocations
    GROUP BY consumer_id
) AS allocated ON allocated.consumer_id = consumers.id
CROSS JOIN LATERAL (SELECT CASE WHEN maker_user_of = maker_id THEN maker_user END AS user_name) AS maker
WHERE last.kind = 'consumer' AND last.record_id = consumers.id::text
    AND (
        (maker_id, maker_type, maker_source, maker_time, maker.user_name)
            IS DISTINCT FROM (last.command_id, last.command_type, last.command_source, last.decided_at, last.command_user)
        OR last.row_hash IS NOT NULL AND state_hash IS DISTINCT FROM hash_record_extended(ROW(
            id, generation, sequence, project_id, user_id, consumer_type, deleted,
            maker_id, maker_type, maker_source, maker_time, maker_user, coalesce(allocated.listed, '')
        ), 0)
    )
LIMIT 10
