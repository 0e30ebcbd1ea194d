-- A page of what consumers have of a live provider, by consumer, beside the provider's generation. One row without a
-- consumer: there is nothing more.
SELECT
    provider.generation AS provider_generation, page.consumer_id, page.resources,
    consumer.generation, consumer.project_id, consumer.user_id, consumer.consumer_type
FROM providers AS provider
LEFT JOIN LATERAL (
    SELECT consumer_id, json_object_agg(resource_class, amount ORDER BY resource_class) AS resources
    FROM allocations
    WHERE provider_id = provider.id AND ($2::uuid IS NULL OR consumer_id > $2)
    GROUP BY consumer_id
    ORDER BY consumer_id
    LIMIT $3
) AS page ON true
LEFT JOIN consumers AS consumer ON consumer.id = page.consumer_id
WHERE provider.id = $1 AND NOT provider.deleted
ORDER BY page.consumer_id
