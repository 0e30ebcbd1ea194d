-- compatible since 9
-- Commands that cannot be decided while others can, each with all of its message, so that it holds up no queue. An older
-- program beside does not look here: it decides later commands of such a record by itself, if it can.
CREATE TABLE held_messages (
    position     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    command_id   uuid NOT NULL,
    copy         bytea NOT NULL,                            -- the same for copies of a command with the same answers
    exchange     text NOT NULL,                             -- as the message came from the broker
    routing_key  bytea NOT NULL,
    properties   bytea NOT NULL,                            -- AMQP's, as they travel
    body         bytea NOT NULL,                            -- of this command alone
    bulk         boolean NOT NULL,                          -- it came in a message with others
    why          text NOT NULL,                             -- what kept it from being decided last
    since        timestamptz NOT NULL DEFAULT clock_timestamp(),
    tries        integer NOT NULL DEFAULT 0,                -- how often it has been tried again
    next_at      timestamptz NOT NULL                       -- when it is tried again, or when a try counts as dead
);
COMMENT ON TABLE held_messages IS 'commands that wait for a record in trouble';
CREATE UNIQUE INDEX held_messages_copies ON held_messages (command_id, copy);
CREATE INDEX held_messages_next ON held_messages (next_at);

CREATE TABLE held (
    record    text COLLATE "C" NOT NULL,                    -- the key of a record or a name: its kind and id
    position  bigint NOT NULL,
    PRIMARY KEY (record, position)
);
COMMENT ON TABLE held IS 'what held messages wait for, and what later ones wait for behind them';
CREATE INDEX held_position ON held (position);
