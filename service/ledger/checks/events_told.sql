-- Every event in the ledger is the outcome of its own command and tells its verdict, and a success tells the type, record,
-- sequence and token of each change that the command made.
WITH events AS MATERIALIZED (
    SELECT
        ledger.id, verdict, type, time, causationid, success.kind, success.id AS record_id, sequence,
        coalesce(token ->> 'generation', token ->> 'traversal') AS token, tokens
    FROM ledger
    CROSS JOIN LATERAL json_to_record(event::json) AS told (type text, time text, causationid text, data json)
    CROSS JOIN LATERAL json_to_record(CASE WHEN verdict = 'succeeded' THEN data ELSE '{}' END)
        AS success (kind text, id text, sequence bigint, token json, tokens json)
),
told AS (
    SELECT id, type, time, kind, record_id, sequence, token FROM events WHERE record_id IS NOT NULL
    UNION ALL
    SELECT
        events.id, type, time, kinds.key, records.key, NULL,
        coalesce(records.value ->> 'generation', records.value ->> 'traversal')
    FROM events, json_each(tokens) AS kinds, json_each(kinds.value) AS records
    WHERE json_typeof(tokens) = 'object'
)
SELECT id::text AS record, format('its verdict is %s, and its event (%s) the outcome of %s', verdict, type, causationid) AS found
FROM events
WHERE causationid IS DISTINCT FROM id::text OR right(type, length(verdict) + 1) IS DISTINCT FROM '.' || verdict
UNION ALL
SELECT told.id::text, format('its event (%s) tells of %s %s, sequence %s, token %s, and no change says so',
    told.type, told.kind, told.record_id, told.sequence, told.token)
FROM told
LEFT JOIN changes
    ON changes.command_id = told.id AND changes.kind = told.kind AND changes.record_id = told.record_id
    AND changes.token = told.token AND changes.command_type || '.succeeded' = told.type
    -- A success that is told again, because the ledger had forgotten it, has the sequence of then.
    AND (changes.sequence = coalesce(told.sequence, changes.sequence) OR changes.decided_at < told.time)
WHERE changes.kind IS NULL
UNION ALL
SELECT changes.command_id::text, format('it changed %s %s, and its event does not tell that', changes.kind, changes.record_id)
FROM changes
JOIN events ON events.id = changes.command_id AND events.time = changes.decided_at
WHERE (events.kind, events.record_id) IS DISTINCT FROM (changes.kind, changes.record_id)
    AND json_extract_path(events.tokens, changes.kind, changes.record_id) IS NULL
LIMIT 10
