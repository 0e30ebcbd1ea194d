-- Lock and read consumers, in the order of their ids. Their allocations are read after that.
SELECT
    id, generation, sequence, project_id, user_id, consumer_type, deleted,
    maker_id, maker_type, maker_source, maker_time
FROM consumers
WHERE id = ANY ($1::uuid[])
ORDER BY id
FOR NO KEY UPDATE
