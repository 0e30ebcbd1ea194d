-- Every batch has as many rows in the ledger as commands that it decided, unless an older version wrote it, or its commands
-- are forgotten: after a day, and the oldest first.
WITH counted AS MATERIALIZED (
    SELECT batches.id, confirmed_at, decided_at, commands, coalesce(recorded.count, 0) AS count
    FROM batches
    LEFT JOIN (SELECT batch_id, count(*) AS count FROM ledger GROUP BY batch_id) AS recorded ON recorded.batch_id = batches.id
),
forgotten AS (
    -- A batch whose time a wrong clock noted is forgotten with the next one that has a right time. No shorter retention
    -- than a day can be set.
    SELECT least(max(id), (SELECT min(id) FROM counted WHERE confirmed_at IS NOT NULL AND count > 0)) AS last
    FROM counted
    WHERE confirmed_at IS NOT NULL AND decided_at < now() - interval '1 day'
    HAVING count(*) > 0
)
SELECT
    'batch ' || id AS record,
    format('it decided %s commands, and the ledger has %s', commands, count) AS found
FROM counted
LEFT JOIN forgotten ON true
WHERE commands < count OR commands > count AND (confirmed_at IS NULL OR last IS NULL OR id > last)
LIMIT 10
