-- Which of these traversals the stacks have had. LIMIT keeps the planner from joining: a plan that was made for an
-- empty table would read all changes once they are many.
SELECT asked.record_id, asked.token
FROM unnest($1::text[], $2::text[]) AS asked (record_id, token)
CROSS JOIN LATERAL (
    SELECT
    FROM changes
    WHERE kind = 'stack' AND changes.record_id = asked.record_id AND changes.token = asked.token
    LIMIT 1
) AS had
