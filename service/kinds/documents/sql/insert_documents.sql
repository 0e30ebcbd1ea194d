-- Create documents. Fewer rows than documents: somebody created one meanwhile.
INSERT INTO documents (id, generation, sequence, body, maker_id, maker_type, maker_source, maker_time)
SELECT id, generation, sequence, body::json, maker_id, maker_type, maker_source, maker_time
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::text[])
    AS new (id, generation, sequence, body, maker_id, maker_type, maker_source, maker_time)
ORDER BY id COLLATE "C"
ON CONFLICT DO NOTHING
