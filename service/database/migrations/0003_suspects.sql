CREATE TABLE suspects (
    id     uuid PRIMARY KEY,                                -- the command's id
    times  integer NOT NULL                                 -- how often it was about to be decided alone
);
COMMENT ON TABLE suspects IS 'commands that may have killed the process which decided them';
