-- The parents of these providers, and of all their ancestors. UNION ends even where the tree is broken.
WITH RECURSIVE above AS (
    SELECT id, parent_id FROM providers WHERE id = ANY ($1::uuid[])
    UNION
    SELECT providers.id, providers.parent_id FROM above JOIN providers ON providers.id = above.parent_id
)
SELECT id, parent_id FROM above
