-- Every sequence number of a provider has exactly one change in the history, from 1 to the row's, and each has the generation that it made.
SELECT
    coalesce(record.id::text, change.record_id) AS record,
    format('the row has sequence %s and generation %s; its changes are %s, from %s to %s',
        record.sequence, record.generation, change.count, change.first, change.last) AS found
FROM (
    SELECT record_id, count(*) AS count, min(sequence) AS first, max(sequence) AS last,
        bool_and(token = (sequence - 1)::text) AS counted
    FROM changes
    WHERE kind = 'provider'
    GROUP BY record_id
) AS change
FULL JOIN providers AS record ON record.id::text = change.record_id
WHERE record.sequence IS DISTINCT FROM change.last
   OR change.first <> 1
   OR change.count <> change.last
   OR NOT change.counted
   OR record.generation IS DISTINCT FROM record.sequence - 1
LIMIT 10
