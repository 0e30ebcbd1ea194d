-- A page of a live provider's inventories and their use, by resource class, beside the provider's generation. One row
-- without a class: there is nothing more.
SELECT
    provider.generation AS provider_generation,
    page.resource_class, page.used, page.total, page.reserved, page.allocation_ratio
FROM providers AS provider
LEFT JOIN LATERAL (
    SELECT resource_class, used, total, reserved, allocation_ratio
    FROM inventories
    WHERE provider_id = provider.id AND ($2::text IS NULL OR resource_class > $2)
    ORDER BY resource_class
    LIMIT $3
) AS page ON true
WHERE provider.id = $1 AND NOT provider.deleted
ORDER BY page.resource_class
