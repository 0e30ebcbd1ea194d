-- Every live consumer has allocations, and no other consumer has any.
SELECT
    coalesce(consumers.id, held.consumer_id)::text AS record,
    format('the consumer %s, and its allocations are %s',
        CASE WHEN consumers.deleted THEN 'is removed' WHEN consumers.id IS NULL THEN 'never was' ELSE 'is live' END,
        coalesce(held.count, 0)) AS found
FROM consumers
FULL JOIN (
    SELECT consumer_id, count(*) AS count FROM allocations GROUP BY consumer_id
) AS held ON held.consumer_id = consumers.id
WHERE consumers.id IS NULL
   OR consumers.deleted = (held.count IS NOT NULL)
LIMIT 10
