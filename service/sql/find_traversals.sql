-- Which of these traversals the stacks have had.
SELECT DISTINCT record_id, token
FROM changes
WHERE kind = 'stack'
  AND (record_id, token) IN (SELECT * FROM unnest($1::text[], $2::text[]))
