-- Lock and read providers, in the order of their ids. What they have of each resource class is read after that.
SELECT
    id, generation, sequence, name, parent_id, traits, aggregates, deleted,
    maker_id, maker_type, maker_source, maker_time
FROM providers
WHERE id = ANY ($1::uuid[])
ORDER BY id
FOR NO KEY UPDATE
