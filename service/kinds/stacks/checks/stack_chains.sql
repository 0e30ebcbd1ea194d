-- The traversals of a stack form one chain in the history: each change starts a new one, named by its command, or keeps
-- the one before, and the row has the last two.
SELECT
    link.record_id AS record,
    format('change %s has traversal %s after %s', link.sequence, link.token, link.before) AS found
FROM (
    SELECT record_id, sequence, token, command_id,
        lag(token) OVER (PARTITION BY record_id ORDER BY sequence) AS before
    FROM changes
    WHERE kind = 'stack'
) AS link
WHERE link.token IS DISTINCT FROM link.before AND link.token <> link.command_id::text
UNION ALL
SELECT
    stacks.id::text,
    format('the row has traversal %s after %s, its changes %s after %s',
        stacks.traversal, stacks.previous_traversal, started.last, started.before)
FROM stacks
JOIN (
    SELECT record_id, (array_agg(token ORDER BY sequence DESC))[1] AS last,
        (array_agg(token ORDER BY sequence DESC))[2] AS before
    FROM changes
    WHERE kind = 'stack' AND token = command_id::text
    GROUP BY record_id
) AS started ON started.record_id = stacks.id::text
WHERE stacks.traversal::text IS DISTINCT FROM started.last
   OR stacks.previous_traversal::text IS DISTINCT FROM started.before
LIMIT 10
