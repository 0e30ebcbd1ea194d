-- A page of live providers, by id, with their inventories and the roots of their trees. Null stands for a filter
-- that is not set: planned for its values each time, so that each filter is served by its index. All that pass up to
-- $14 are found first; the planner, told of the page's size, would walk along the ids until the page is full, and
-- where few pass that is along all of them. The tree is an array, because next to OR the planner would not look ids of a
-- subquery up, but hold each row against them. The joins fall away where there are no classes to start from. The page
-- ends with the provider that is past $18 bytes; `bytes` are those of the whole page.
WITH RECURSIVE up AS (
    SELECT id, parent_id FROM providers WHERE id = $2
    UNION
    SELECT providers.id, providers.parent_id FROM up JOIN providers ON providers.id = up.parent_id
),
tree AS (
    SELECT id FROM up WHERE parent_id IS NULL
    UNION
    SELECT providers.id FROM tree JOIN providers ON providers.parent_id = tree.id
),
passing AS MATERIALIZED (
    SELECT provider.id
    FROM providers AS provider
    LEFT JOIN inventories AS first ON first.provider_id = provider.id AND first.resource_class = ($15::text[])[1]
    LEFT JOIN inventories AS second ON second.provider_id = provider.id AND second.resource_class = ($15::text[])[2]
    LEFT JOIN inventories AS third ON third.provider_id = provider.id AND third.resource_class = ($15::text[])[3]
    WHERE NOT deleted
      AND ($1::text IS NULL
        OR provider.id = (SELECT record_id::uuid FROM names WHERE kind = 'provider' AND names.name = $1))
      AND ($2::uuid IS NULL OR provider.id = ANY (ARRAY(SELECT id FROM tree)))
      AND ($3::uuid[] IS NULL OR aggregates @> $3)
      AND ($4::uuid[] IS NULL OR aggregates && $4)
      AND ($5::text[] IS NULL OR NOT EXISTS (
        SELECT FROM unnest($5) AS any_of WHERE NOT aggregates && string_to_array(any_of, ',')::uuid[]
      ))
      AND ($6::uuid[] IS NULL OR NOT aggregates && $6)
      AND ($7::text[] IS NULL OR traits @> $7)
      AND ($8::text[] IS NULL OR traits && $8)
      AND ($9::text[] IS NULL OR NOT EXISTS (
        SELECT FROM unnest($9) AS any_of WHERE NOT traits && string_to_array(any_of, ',')
      ))
      AND ($10::text[] IS NULL OR NOT traits && $10)
      AND ($11::text[] IS NULL OR NOT EXISTS (
        SELECT FROM unnest($11, $12::integer[]) AS wanted (resource_class, amount)
        WHERE NOT EXISTS (
            SELECT FROM inventories
            WHERE inventories.provider_id = provider.id
              AND inventories.resource_class = wanted.resource_class
              AND used + amount <= (total - reserved) * allocation_ratio
              AND amount BETWEEN min_unit AND max_unit
              AND amount % step_size = 0
        )
      ))
      AND ($13::uuid IS NULL OR provider.id > $13)
      AND ($14::uuid IS NULL OR provider.id <= $14)
      AND (($15)[1] IS NULL OR first.room >= ($16::integer[])[1])
      AND (($15)[2] IS NULL OR second.room >= ($16)[2])
      AND (($15)[3] IS NULL OR third.room >= ($16)[3])
),
measured AS (
    SELECT
        id,
        octet_length(concat(traits, aggregates)) + (
            SELECT coalesce(sum(150 + octet_length(resource_class)), 0)
            FROM inventories
            WHERE provider_id = providers.id
        ) AS bytes
    FROM providers
    WHERE id = ANY (ARRAY(SELECT id FROM passing ORDER BY id LIMIT $17))
),
counted AS MATERIALIZED (
    SELECT id, bytes, sum(bytes) OVER (ORDER BY id) AS bytes_so_far FROM measured
)
SELECT live_providers.*, (SELECT max(bytes_so_far) FROM counted)::bigint AS bytes
FROM live_providers
WHERE id = ANY (ARRAY(SELECT id FROM counted WHERE bytes_so_far - bytes <= $18))
ORDER BY id
