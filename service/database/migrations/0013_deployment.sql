-- compatible since 7
-- Which deployment the database is of: a part of its identity, which the broker is bound to.
CREATE TABLE deployment (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id        uuid NOT NULL DEFAULT gen_random_uuid()
);
COMMENT ON TABLE deployment IS 'one row, made with the tables and never changed; a copy of the tables has it too';
INSERT INTO deployment DEFAULT VALUES;
