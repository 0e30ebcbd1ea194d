-- The id that so many providers, deleted ones too, come before it after a given id; null where there are not so many.
SELECT id FROM providers WHERE $1::uuid IS NULL OR id > $1 ORDER BY id OFFSET $2 LIMIT 1
