-- Record the verdicts of one batch, in the order of their ids. Fewer rows than verdicts: another consumer
-- decided one of the commands meanwhile.
WITH batch AS (
    INSERT INTO batches (commands) VALUES (cardinality($1::uuid[])) RETURNING id
)
INSERT INTO ledger (id, content_hash, verdict, event, batch_id, row_hash)
SELECT
    new.id, new.content_hash, new.verdict, new.event, batch.id,
    hash_record_extended(ROW(new.id, new.content_hash, new.verdict, new.event, batch.id), 0)
FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::text[]) AS new (id, content_hash, verdict, event), batch
ORDER BY new.id
ON CONFLICT DO NOTHING
RETURNING batch_id
