-- A live consumer with its allocations, one JSON object for each provider.
SELECT
    id, generation, sequence, project_id, user_id, consumer_type, deleted,
    maker_id, maker_type, maker_source, maker_time,
    (
        SELECT json_object_agg(provider_id, resources)
        FROM (
            SELECT provider_id, json_object_agg(resource_class, amount) AS resources
            FROM allocations
            WHERE consumer_id = consumer.id
            GROUP BY provider_id
        ) AS by_provider
    ) AS allocations
FROM consumers AS consumer
WHERE id = $1 AND NOT deleted
