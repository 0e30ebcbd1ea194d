CREATE TABLE consumers (
    id             uuid PRIMARY KEY,
    generation     bigint NOT NULL CHECK (generation >= 1),
    sequence       bigint NOT NULL CHECK (sequence >= 1),
    project_id     text NOT NULL,
    user_id        text NOT NULL,
    consumer_type  text,
    deleted        boolean NOT NULL,                        -- a tombstone: it has no allocations
    maker_id       uuid NOT NULL,                           -- the command that made the current generation
    maker_type     text NOT NULL,
    maker_source   text NOT NULL,
    maker_time     text NOT NULL
);
CREATE INDEX consumers_project ON consumers (project_id, user_id) WHERE NOT deleted;

CREATE TABLE allocations (
    consumer_id     uuid NOT NULL,
    provider_id     uuid NOT NULL,
    resource_class  text COLLATE "C" NOT NULL,
    amount          integer NOT NULL CHECK (amount >= 1),
    PRIMARY KEY (consumer_id, provider_id, resource_class)
);
COMMENT ON TABLE allocations IS 'guarded by the rows of their consumer and their provider: who writes here has both locked';
CREATE INDEX allocations_provider ON allocations (provider_id, consumer_id);

ALTER TABLE inventories ADD COLUMN used bigint NOT NULL DEFAULT 0 CHECK (used >= 0);
COMMENT ON COLUMN inventories.used IS 'the sum of the allocations';
