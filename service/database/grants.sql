-- What the role of the service may do: what its statements need and nothing else, which tests/integration/test_roles.py
-- proves statement by statement. What only the version before needs is taken away a release later, for its replicas go on
-- beside those of this one. `genlock migrate` runs this as the owner, each time, where GENLOCK_SERVICE_ROLE says
-- whom to grant it to. By hand: psql -v service=genlock_service -v schema=public --single-transaction -f grants.sql

REVOKE TEMPORARY ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO :"service";
REVOKE CREATE ON SCHEMA :"schema" FROM PUBLIC, :"service";
GRANT USAGE ON SCHEMA :"schema" TO :"service";

-- Nothing is left of what was granted before, by hand or by an earlier version.
REVOKE ALL ON
    documents, stacks, providers, consumers, names, inventories, allocations, changes, ledger, batches, suspects,
    live_providers, schema_versions, command_types
FROM PUBLIC, :"service";

-- Records are made and changed, and never removed: a deleted one stays as a tombstone, so that no token goes back.
GRANT SELECT, INSERT, UPDATE ON documents, stacks, providers, consumers TO :"service";

-- What belongs to them comes and goes. A name is taken and given back, never handed over.
GRANT SELECT, INSERT, DELETE ON names TO :"service";
GRANT SELECT, INSERT, UPDATE, DELETE ON inventories, allocations TO :"service";

-- History and proof: written once, and then nobody changes or removes it but the owner.
GRANT SELECT, INSERT ON changes TO :"service";

-- A verdict is never changed; past the retention it is forgotten. Of a batch nothing changes but that it was confirmed.
GRANT SELECT, INSERT, DELETE ON ledger TO :"service";
GRANT SELECT, INSERT, UPDATE (confirmed_at), DELETE ON batches TO :"service";

-- Attempts are recorded, withdrawn, and cleared.
GRANT SELECT, INSERT, UPDATE, DELETE ON suspects TO :"service";

-- For reads; and to see whether this program knows the schema, and a newer one a type of command.
GRANT SELECT ON live_providers, schema_versions, command_types TO :"service";
