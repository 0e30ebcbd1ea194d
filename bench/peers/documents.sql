-- What the FastStream handler keeps: records, and the events of the commands that it has decided.
CREATE TABLE documents (
    id          text COLLATE "C" PRIMARY KEY,
    generation  bigint NOT NULL,
    body        jsonb NOT NULL
);

CREATE TABLE ledger (
    id     uuid PRIMARY KEY,
    event  text NOT NULL
);
