-- The id of the newest batch.
SELECT max(id) FROM batches
