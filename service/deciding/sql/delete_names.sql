-- Free names that their records no longer hold.
DELETE FROM names
USING unnest($1::text[], $2::text[], $3::text[]) AS freed (kind, name, record_id)
WHERE names.kind = freed.kind AND names.name = freed.name AND names.record_id = freed.record_id
