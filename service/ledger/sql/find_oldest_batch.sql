-- The time of the oldest confirmed batch. Commands of it may have been purged, but none of a later batch.
SELECT decided_at FROM batches WHERE confirmed_at IS NOT NULL ORDER BY id LIMIT 1
