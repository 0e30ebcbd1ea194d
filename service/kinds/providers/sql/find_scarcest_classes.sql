-- The three of these resource classes that the fewest inventories have room for, and how many these are, counted up to
-- a limit.
SELECT
    resource_class, room,
    (
        SELECT count(*)
        FROM (
            SELECT
            FROM inventories
            WHERE inventories.resource_class = wanted.resource_class AND inventories.room >= wanted.room
            LIMIT $3
        ) AS roomy
    ) AS providers
FROM unnest($1::text[], $2::integer[]) AS wanted (resource_class, room)
ORDER BY providers
LIMIT 3
