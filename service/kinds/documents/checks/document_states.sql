-- Every document is as its last change left it: that change is its maker, it is a tombstone after a delete alone, and unless
-- an older version wrote it, its content is the one that was hashed then.
SELECT
    documents.id AS record,
    CASE
        WHEN (maker_id, maker_type, maker_source, maker_time, maker.user_name)
            IS DISTINCT FROM (last.command_id, last.command_type, last.command_source, last.decided_at, last.command_user)
        THEN format('its maker is %s (%s), and its last change %s (%s)',
            maker_id, maker_type, last.command_id, last.command_type)
        WHEN (body IS NULL) <> (last.command_type = 'document.delete')
        THEN format('it is %s after %s', CASE WHEN body IS NULL THEN 'a tombstone' ELSE 'live' END, last.command_type)
        ELSE format('its content is not the one of its change %s', sequence)
    END AS found
FROM documents
JOIN changes AS last USING (sequence)
CROSS JOIN LATERAL (SELECT CASE WHEN maker_user_of = maker_id THEN maker_user END AS user_name) AS maker
WHERE last.kind = 'document' AND last.record_id = documents.id
    AND (
        (maker_id, maker_type, maker_source, maker_time, maker.user_name)
            IS DISTINCT FROM (last.command_id, last.command_type, last.command_source, last.decided_at, last.command_user)
        OR (body IS NULL) <> (last.command_type = 'document.delete')
        OR last.row_hash IS NOT NULL AND state_hash IS DISTINCT FROM hash_record_extended(ROW(
            id, generation, sequence, body::text, maker_id, maker_type, maker_source, maker_time, maker_user
        ), 0)
    )
LIMIT 10
