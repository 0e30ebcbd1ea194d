-- compatible since 7
-- What a decision sends besides its outcome, which stands in the ledger. Written with the batch that decided it.
CREATE TABLE outbox (
    batch_id        bigint NOT NULL,
    position        integer NOT NULL,                       -- within the batch
    command_id      uuid NOT NULL,                          -- the command that was decided
    kind            text NOT NULL,                          -- of the message: it tells whether it is still due
    record_kind     text NOT NULL,
    record_id       text COLLATE "C" NOT NULL,              -- the record under whose lock that is asked
    exchange        text NOT NULL,                          -- without the namespace; empty is the default exchange
    routing_key     text NOT NULL,
    mandatory       boolean NOT NULL,                       -- a queue has to take it
    message_id      text NOT NULL,
    message_type    text NOT NULL,
    subject         text,
    correlation_id  text,
    time            text NOT NULL,                          -- RFC 3339
    body            bytea NOT NULL,                         -- byte for byte as it is published
    PRIMARY KEY (batch_id, position)
);
COMMENT ON TABLE outbox IS 'further messages of decisions; kept as long as their batch';

-- What the broker refused, one row for each message. It is published again without holding anything else.
CREATE TABLE waiting_messages (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    since        timestamptz NOT NULL DEFAULT clock_timestamp(),
    tries        integer NOT NULL DEFAULT 1,                -- how often the broker refused it
    exchange     text NOT NULL,
    routing_key  text NOT NULL,
    mandatory    boolean NOT NULL,
    properties   bytea NOT NULL,                            -- AMQP's, as they travel
    ledger_id    uuid,                                      -- an outcome: the ledger has its body
    batch_id     bigint,                                    -- a further message: the outbox has its body
    position     integer,
    body         bytea,                                     -- of a message that has no other row
    CHECK ((batch_id IS NULL) = (position IS NULL)),
    CHECK (num_nonnulls(ledger_id, batch_id, body) = 1)
);
COMMENT ON TABLE waiting_messages IS 'messages that the broker refused, until a queue takes them';
CREATE INDEX waiting_messages_destination ON waiting_messages (exchange, routing_key, tries, id);
CREATE UNIQUE INDEX waiting_messages_ledger ON waiting_messages (ledger_id, exchange, routing_key, properties)
WHERE ledger_id IS NOT NULL;
CREATE UNIQUE INDEX waiting_messages_outbox ON waiting_messages (batch_id, position) WHERE batch_id IS NOT NULL;

CREATE TABLE destinations (
    exchange     text NOT NULL,
    routing_key  text NOT NULL,
    tries        integer NOT NULL DEFAULT 1,                -- refusals since it took a message; below 0: took all
    next_at      timestamptz NOT NULL,                      -- when it is tried again, or when a try counts as dead
    PRIMARY KEY (exchange, routing_key)
);
COMMENT ON TABLE destinations IS 'where waiting messages are to go; each is tried by one replica at a time';
CREATE INDEX destinations_next ON destinations (next_at);
