-- Note what held messages wait for.
INSERT INTO held (record, position)
SELECT * FROM unnest($1::text[], $2::bigint[]) AS new (record, position)
ON CONFLICT DO NOTHING
