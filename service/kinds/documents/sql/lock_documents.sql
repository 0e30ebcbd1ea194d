-- Lock and read documents, in the order of their ids.
SELECT id, generation, sequence, body, maker_id, maker_type, maker_source, maker_time
FROM documents
WHERE id = ANY ($1::text[])
ORDER BY id
FOR NO KEY UPDATE
