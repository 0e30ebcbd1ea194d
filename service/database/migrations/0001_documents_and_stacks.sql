-- Records have no foreign keys to each other: their checks would lock rows in an order of their own.
-- JSON is kept as the text that was decided: jsonb would rewrite its numbers.

CREATE TABLE documents (
    id            text COLLATE "C" PRIMARY KEY,
    generation    bigint NOT NULL CHECK (generation >= 0),
    sequence      bigint NOT NULL CHECK (sequence >= 1),
    body          json,                                     -- null is a tombstone
    maker_id      uuid NOT NULL,                            -- the command that made the current generation
    maker_type    text NOT NULL,
    maker_source  text NOT NULL,
    maker_time    text NOT NULL
);

CREATE TABLE stacks (
    id                  uuid PRIMARY KEY,
    sequence            bigint NOT NULL CHECK (sequence >= 1),
    name                text NOT NULL,
    action              text NOT NULL CHECK (action IN ('CREATE', 'UPDATE', 'DELETE', 'ROLLBACK')),
    status              text NOT NULL CHECK (status IN ('IN_PROGRESS', 'COMPLETE', 'FAILED')),
    status_reason       text NOT NULL,
    traversal           uuid NOT NULL,
    previous_traversal  uuid,
    template            json NOT NULL,
    previous_template   json,
    disable_rollback    boolean NOT NULL,
    timeout_s           integer,
    maker_id            uuid NOT NULL,                      -- the command that started the current traversal
    maker_type          text NOT NULL,
    maker_source        text NOT NULL,
    maker_time          text NOT NULL
);
COMMENT ON TABLE stacks IS 'action DELETE with status COMPLETE is a tombstone';

CREATE TABLE names (
    kind       text NOT NULL,
    name       text COLLATE "C" NOT NULL,
    record_id  text NOT NULL,
    PRIMARY KEY (kind, name)
);
COMMENT ON TABLE names IS 'the names of live records, unique for each kind';

CREATE TABLE changes (
    kind            text NOT NULL,
    record_id       text COLLATE "C" NOT NULL,
    sequence        bigint NOT NULL,
    token           text NOT NULL,                          -- the generation, or the traversal
    command_id      uuid NOT NULL,
    command_type    text NOT NULL,
    command_source  text NOT NULL,
    decided_at      text NOT NULL,                          -- RFC 3339, as in the event
    PRIMARY KEY (kind, record_id, sequence)
);
COMMENT ON TABLE changes IS 'one row for each accepted command of each record; kept when the ledger is not';
CREATE INDEX changes_traversal ON changes (record_id, token) WHERE kind = 'stack';

CREATE TABLE batches (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    decided_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    confirmed_at  timestamptz
);
COMMENT ON COLUMN batches.confirmed_at IS 'when the broker had confirmed all events of the batch';
CREATE INDEX batches_unconfirmed ON batches (id) WHERE confirmed_at IS NULL;

CREATE TABLE ledger (
    id            uuid PRIMARY KEY,                         -- the command's id
    content_hash  bytea NOT NULL,                           -- SHA-256 of [type, subject, data]
    verdict       text NOT NULL CHECK (verdict IN ('succeeded', 'conflict', 'rejected')),
    event         text NOT NULL,                            -- the outcome, byte for byte as it is published
    batch_id      bigint NOT NULL
);
COMMENT ON TABLE ledger IS 'one row for each decided command';
CREATE INDEX ledger_batch ON ledger (batch_id);
