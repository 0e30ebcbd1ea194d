-- A page of what consumers have of a live provider, by consumer, beside the provider's generation. One row without a
-- consumer: there is nothing more. The page ends with the row that is past $4 bytes.
SELECT
    provider.generation AS provider_generation, page.consumer_id, page.resources,
    consumer.generation, consumer.project_id, consumer.user_id, consumer.consumer_type
FROM providers AS provider
LEFT JOIN LATERAL (
    SELECT *, sum(octet_length(resources::text)) OVER (ORDER BY consumer_id) AS bytes_so_far
    FROM (
        SELECT consumer_id, json_object_agg(resource_class, amount ORDER BY resource_class) AS resources
        FROM allocations
        WHERE provider_id = provider.id AND ($2::uuid IS NULL OR consumer_id > $2)
        GROUP BY consumer_id
        ORDER BY consumer_id
        LIMIT $3
    ) AS first
) AS page ON bytes_so_far - octet_length(resources::text) <= $4
LEFT JOIN consumers AS consumer ON consumer.id = page.consumer_id
WHERE provider.id = $1 AND NOT provider.deleted
ORDER BY page.consumer_id
