-- The time of the oldest confirmed batch whose time is not in the future: no time that is noted is later than $1.
SELECT decided_at FROM batches WHERE confirmed_at IS NOT NULL AND decided_at <= $1::timestamptz ORDER BY id LIMIT 1
