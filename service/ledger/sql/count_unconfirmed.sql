-- Count the batches that were committed and never confirmed.
SELECT count(*) FROM batches WHERE confirmed_at IS NULL
