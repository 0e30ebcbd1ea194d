-- Which of several resource classes the fewest inventories have room for: as few as can be told by looking at 10,000 of
-- each, because it only says where to start.
SELECT resource_class, room
FROM unnest($1::text[], $2::integer[]) AS wanted (resource_class, room)
ORDER BY (
    SELECT count(*)
    FROM (
        SELECT
        FROM inventories
        WHERE inventories.resource_class = wanted.resource_class AND inventories.room >= wanted.room
        LIMIT 10000
    ) AS roomy
)
LIMIT 1
