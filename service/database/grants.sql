-- The privileges of the service's role: exactly those that its statements need, which tests/integration/test_roles.py
-- proves statement by statement. Privileges that only the previous version needs are revoked a release later, because
-- its replicas run beside those of this version. `genlock migrate` runs this as the owner, each time, where
-- GENLOCK_SERVICE_ROLE says whom to grant it to. By hand:
-- psql -v service=genlock_service -v schema=public --single-transaction -f grants.sql
-- `make reference` writes it, from what each kind of record says that it needs.

REVOKE TEMPORARY ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO :"service";
REVOKE CREATE ON SCHEMA :"schema" FROM PUBLIC, :"service";
GRANT USAGE ON SCHEMA :"schema" TO :"service";

-- Revoke all earlier privileges, granted by hand or by an earlier version.
REVOKE ALL ON
    providers, inventories, live_providers, consumers, allocations, stacks, documents,
    names, changes, ledger, batches, suspects, outbox, waiting_messages, destinations, held_messages, held, schema_versions, command_types, deployment,
    batches_id_seq, waiting_messages_id_seq, held_messages_position_seq
FROM PUBLIC, :"service";

-- Records are inserted and updated, never deleted: a deleted record stays as a tombstone, so no token goes back.
GRANT SELECT, INSERT, UPDATE ON providers, consumers, stacks, documents TO :"service";

-- Their parts are inserted and deleted. A name is never updated.
GRANT SELECT, INSERT, DELETE ON names TO :"service";
GRANT SELECT, INSERT, UPDATE, DELETE ON inventories, allocations TO :"service";

-- History and proof: only the owner can update or delete it.
GRANT SELECT, INSERT ON changes TO :"service";

-- A verdict is never updated; past the retention it is deleted. Of a batch only the confirmation is updated.
GRANT SELECT, INSERT, DELETE ON ledger TO :"service";
GRANT SELECT, INSERT, UPDATE (confirmed_at), DELETE ON batches TO :"service";

-- A further message is never updated; it is deleted with its batch. Of a refused message only its tries are updated.
GRANT SELECT, INSERT, DELETE ON outbox TO :"service";
GRANT SELECT, INSERT, UPDATE (tries), DELETE ON waiting_messages TO :"service";
GRANT SELECT, INSERT, UPDATE, DELETE ON destinations TO :"service";

-- Of a held message only its next try is updated. What it waits for comes and goes.
GRANT SELECT, INSERT, UPDATE (tries, why, next_at), DELETE ON held_messages TO :"service";
GRANT SELECT, INSERT, DELETE ON held TO :"service";

-- Attempts are recorded, withdrawn, and cleared.
GRANT SELECT, INSERT, UPDATE, DELETE ON suspects TO :"service";

-- For reads, and to compare schema, types of commands and identity with what program and broker know.
GRANT SELECT ON live_providers, schema_versions, command_types, deployment TO :"service";

-- For the start, to compare the sequences with their tables. To take a number needs no privilege.
GRANT SELECT ON batches_id_seq, waiting_messages_id_seq, held_messages_position_seq TO :"service";
