-- The records that hold these names.
SELECT kind, name, record_id
FROM names
WHERE (kind, name) IN (SELECT * FROM unnest($1::text[], $2::text[]))
