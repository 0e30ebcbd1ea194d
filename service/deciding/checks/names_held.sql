-- Every live provider and stack holds its name, and no other record holds one.
SELECT coalesce(held.kind || ' ' || held.id, names.kind || ' ' || names.record_id) AS record,
    format('its name is %s, the one that it holds is %s', held.name, names.name) AS found
FROM (
    SELECT 'provider' AS kind, id::text AS id, name FROM providers WHERE NOT deleted
    UNION ALL
    SELECT 'stack', id::text, name FROM stacks WHERE NOT (action = 'DELETE' AND status = 'COMPLETE')
) AS held
FULL JOIN names ON names.kind = held.kind AND names.record_id = held.id
WHERE held.name IS DISTINCT FROM names.name
LIMIT 10
