-- The last of the oldest confirmed batches that were decided before a time, $1. Batches are decided in the order of their
-- ids. So a time counts only if no older batch has a later one, and if it is not after $2, which is to come: a clock
-- that was wrong for a while has noted other times. Batches with such times go with the next one that has a right one.
SELECT max(id)
FROM (
    SELECT id, decided_at, max(decided_at) OVER (ORDER BY id) AS decided_by
    FROM batches
    WHERE confirmed_at IS NOT NULL AND decided_at BETWEEN $3::timestamptz AND $2::timestamptz
    ORDER BY id
    LIMIT $4
) AS oldest
WHERE decided_at = decided_by AND decided_at < $1::timestamptz
