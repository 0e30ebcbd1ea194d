-- A live document.
SELECT id, generation, sequence, body, maker_id, maker_type, maker_source, maker_time
FROM documents
WHERE id = $1 AND body IS NOT NULL
