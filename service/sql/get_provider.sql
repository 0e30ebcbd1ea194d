-- A live provider, with its inventories and the root of its tree.
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
WHERE id = $1 AND NOT deleted
