-- The live children of these providers.
SELECT id, parent_id
FROM providers
WHERE parent_id = ANY ($1::uuid[]) AND NOT deleted
