-- Every provider is as its last change left it: that change is its maker, it is a tombstone after a delete alone, and unless
-- an older version wrote it, its name, parent, traits, aggregates and inventories are those that were hashed then.
SELECT
    providers.id::text AS record,
    CASE
        WHEN (maker_id, maker_type, maker_source, maker_time, maker.user_name)
            IS DISTINCT FROM (last.command_id, last.command_type, last.command_source, last.decided_at, last.command_user)
        THEN format('its maker is %s (%s), and its last change %s (%s)',
            maker_id, maker_type, last.command_id, last.command_type)
        WHEN deleted <> (last.command_type = 'provider.delete')
        THEN format('it is %s after %s', CASE WHEN deleted THEN 'a tombstone' ELSE 'live' END, last.command_type)
        ELSE format('its content is not the one of its change %s', sequence)
    END AS found
FROM providers
JOIN changes AS last USING (sequence)
LEFT JOIN (
    -- As the service writes it: table.py.
    SELECT
        provider_id,
        string_agg(
            concat_ws(':', resource_class, total, reserved, min_unit, max_unit, step_size,
                encode(float8send(allocation_ratio), 'hex')),
            ' ' ORDER BY resource_class
        ) AS listed
    FROM inventories
    GROUP BY provider_id
) AS inventory ON inventory.provider_id = providers.id
CROSS JOIN LATERAL (SELECT CASE WHEN maker_user_of = maker_id THEN maker_user END AS user_name) AS maker
WHERE last.kind = 'provider' AND last.record_id = providers.id::text
    AND (
        (maker_id, maker_type, maker_source, maker_time, maker.user_name)
            IS DISTINCT FROM (last.command_id, last.command_type, last.command_source, last.decided_at, last.command_user)
        OR deleted <> (last.command_type = 'provider.delete')
        OR last.row_hash IS NOT NULL AND state_hash IS DISTINCT FROM hash_record_extended(ROW(
            id, generation, sequence, name, parent_id, array_to_string(traits, ' '), array_to_string(aggregates, ' '),
            deleted, maker_id, maker_type, maker_source, maker_time, maker_user, coalesce(inventory.listed, '')
        ), 0)
    )
LIMIT 10
