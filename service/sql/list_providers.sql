-- A page of live providers, by id, with their inventories and the roots of their trees. Null stands for a filter
-- that is not set: planned for its values each time, so that each filter is served by its index. The tree is an
-- array, for next to OR the planner would not look ids of a subquery up, but hold each row against them.
WITH RECURSIVE up AS (
    SELECT id, parent_id FROM providers WHERE id = $2
    UNION
    SELECT providers.id, providers.parent_id FROM up JOIN providers ON providers.id = up.parent_id
),
tree AS (
    SELECT id FROM up WHERE parent_id IS NULL
    UNION
    SELECT providers.id FROM tree JOIN providers ON providers.parent_id = tree.id
)
SELECT
    id, generation, sequence, name, parent_id, traits, aggregates, deleted,
    maker_id, maker_type, maker_source, maker_time,
    (
        WITH RECURSIVE above AS (
            SELECT id, parent_id FROM providers AS self WHERE self.id = provider.id
            UNION
            SELECT providers.id, providers.parent_id FROM above JOIN providers ON providers.id = above.parent_id
        )
        SELECT id FROM above WHERE parent_id IS NULL
    ) AS root_id,
    (
        SELECT json_object_agg(resource_class, json_build_object(
            'total', total, 'reserved', reserved, 'min_unit', min_unit, 'max_unit', max_unit,
            'step_size', step_size, 'allocation_ratio', allocation_ratio
        ))
        FROM inventories
        WHERE inventories.provider_id = provider.id
    ) AS inventories
FROM providers AS provider
WHERE NOT deleted
  AND ($1::text IS NULL OR id = (SELECT record_id::uuid FROM names WHERE kind = 'provider' AND names.name = $1))
  AND ($2::uuid IS NULL OR id = ANY (ARRAY(SELECT id FROM tree)))
  AND ($3::uuid[] IS NULL OR aggregates @> $3)
  AND ($4::text[] IS NULL OR traits @> $4)
  AND ($5::uuid IS NULL OR id > $5)
ORDER BY id
LIMIT $6
