-- Take names that the fold saw free. Fewer rows than names: another batch took one meanwhile.
INSERT INTO names (kind, name, record_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS taken (kind, name, record_id)
ORDER BY kind, name
ON CONFLICT DO NOTHING
