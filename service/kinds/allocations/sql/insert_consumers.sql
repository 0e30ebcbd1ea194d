-- Create consumers. Fewer rows than consumers: somebody created one meanwhile.
INSERT INTO consumers (
    id, generation, sequence, project_id, user_id, consumer_type, deleted,
    maker_id, maker_type, maker_source, maker_time
)
SELECT *
FROM unnest(
    $1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::boolean[],
    $8::uuid[], $9::text[], $10::text[], $11::text[]
) AS new (
    id, generation, sequence, project_id, user_id, consumer_type, deleted,
    maker_id, maker_type, maker_source, maker_time
)
ORDER BY id
ON CONFLICT DO NOTHING
