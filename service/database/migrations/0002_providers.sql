CREATE TABLE providers (
    id            uuid PRIMARY KEY,
    generation    bigint NOT NULL CHECK (generation >= 0),
    sequence      bigint NOT NULL CHECK (sequence >= 1),
    name          text NOT NULL,
    parent_id     uuid,                                     -- null is a root; which root follows from the parents
    traits        text[] NOT NULL,
    aggregates    uuid[] NOT NULL,
    deleted       boolean NOT NULL,                         -- a tombstone
    maker_id      uuid NOT NULL,                            -- the command that made the current generation
    maker_type    text NOT NULL,
    maker_source  text NOT NULL,
    maker_time    text NOT NULL
);
CREATE INDEX providers_parent ON providers (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX providers_traits ON providers USING gin (traits);
CREATE INDEX providers_aggregates ON providers USING gin (aggregates);

CREATE TABLE inventories (
    provider_id       uuid NOT NULL,
    resource_class    text COLLATE "C" NOT NULL,
    total             integer NOT NULL CHECK (total >= 1),
    reserved          integer NOT NULL CHECK (reserved BETWEEN 0 AND total),
    min_unit          integer NOT NULL CHECK (min_unit >= 1),
    max_unit          integer NOT NULL CHECK (max_unit >= 1),
    step_size         integer NOT NULL CHECK (step_size >= 1),
    allocation_ratio  double precision NOT NULL CHECK (allocation_ratio > 0),
    PRIMARY KEY (provider_id, resource_class)
);
COMMENT ON TABLE inventories IS 'guarded by the row of its provider: who writes here has that locked';
