-- Those of some batches that have a further message which this program does not know, by its kind and exchange.
SELECT DISTINCT batch_id
FROM outbox
WHERE batch_id = ANY ($1::bigint[]) AND (kind, exchange) NOT IN (SELECT * FROM unnest($2::text[], $3::text[]))
