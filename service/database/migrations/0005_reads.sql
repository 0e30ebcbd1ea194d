-- Providers as reads show them; written out in one place for all statements that do.
CREATE VIEW live_providers AS
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
WHERE NOT deleted;

-- An index on what is free would be written with every allocation, and every index of the table with it: PostgreSQL
-- updates a row in place only where no indexed column changes. This one changes when what is free doubles or halves.
ALTER TABLE inventories ADD COLUMN room smallint NOT NULL GENERATED ALWAYS AS (width_bucket(
    least((total - reserved) * allocation_ratio - used, max_unit),
    '{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288,
      1048576, 2097152, 4194304, 8388608, 16777216, 33554432, 67108864, 134217728, 268435456, 536870912,
      1073741824}'::double precision[]
)) STORED;
COMMENT ON COLUMN inventories.room IS 'the length in bits of the largest amount that can still be had, 0 for none';
CREATE INDEX inventories_room ON inventories (resource_class, room);
