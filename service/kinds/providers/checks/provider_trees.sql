-- Every live provider hangs below a root: its parents exist, and none is its own ancestor.
WITH RECURSIVE tree AS (
    SELECT id FROM providers WHERE parent_id IS NULL AND NOT deleted
    UNION
    SELECT providers.id FROM tree JOIN providers ON providers.parent_id = tree.id WHERE NOT providers.deleted
)
SELECT id::text AS record, format('its parent is %s, and no root is above it', parent_id) AS found
FROM providers
WHERE NOT deleted AND NOT EXISTS (SELECT FROM tree WHERE tree.id = providers.id)
LIMIT 10
