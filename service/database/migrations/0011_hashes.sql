-- compatible since 7
-- What `genlock verify` holds rows against. Written by the statements that write the rows, with PostgreSQL's
-- hash_record_extended: it tells what was changed by accident or by hand, not by someone who computes it anew. An older
-- program leaves the hash of a history row null; a record is held against its hash only where its last change has one.
ALTER TABLE documents ADD COLUMN state_hash bigint;
ALTER TABLE stacks ADD COLUMN state_hash bigint;
ALTER TABLE providers ADD COLUMN state_hash bigint;
ALTER TABLE consumers ADD COLUMN state_hash bigint;
ALTER TABLE changes ADD COLUMN row_hash bigint;
ALTER TABLE ledger ADD COLUMN row_hash bigint;
ALTER TABLE batches ADD COLUMN commands integer;
COMMENT ON COLUMN documents.state_hash IS 'of the other columns';
COMMENT ON COLUMN stacks.state_hash IS 'of the other columns';
COMMENT ON COLUMN providers.state_hash IS 'of the other columns, and of the inventories without their use';
COMMENT ON COLUMN consumers.state_hash IS 'of the other columns, and of the allocations';
COMMENT ON COLUMN changes.row_hash IS 'of the other columns; null where an older program wrote the row';
COMMENT ON COLUMN ledger.row_hash IS 'of the other columns; null where an older program wrote the row';
COMMENT ON COLUMN batches.commands IS 'how many rows of the ledger were written with it; null where an older program did so';
