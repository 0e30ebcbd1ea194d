-- No command has changed a record twice.
SELECT kind || ' ' || record_id AS record, format('command %s has changed it %s times', command_id, count(*)) AS found
FROM changes
GROUP BY kind, record_id, command_id
HAVING count(*) > 1
LIMIT 10
