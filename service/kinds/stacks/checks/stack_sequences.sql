-- Every sequence number of a stack has exactly one change in the history, from 1 to the row's.
SELECT
    coalesce(record.id::text, change.record_id) AS record,
    format('the row has sequence %s; its changes are %s, from %s to %s',
        record.sequence, change.count, change.first, change.last) AS found
FROM (
    SELECT record_id, count(*) AS count, min(sequence) AS first, max(sequence) AS last
    FROM changes
    WHERE kind = 'stack'
    GROUP BY record_id
) AS change
FULL JOIN stacks AS record ON record.id::text = change.record_id
WHERE record.sequence IS DISTINCT FROM change.last
   OR change.first <> 1
   OR change.count <> change.last
LIMIT 10
