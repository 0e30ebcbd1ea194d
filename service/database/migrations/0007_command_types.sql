-- What any program that has migrated this database can decide. An older one, beside newer ones during an upgrade, leaves
-- commands of these types that it does not know to them. Whoever adds a type to the catalogue adds it here by a migration.
CREATE TABLE command_types (
    name  text COLLATE "C" PRIMARY KEY
);
COMMENT ON TABLE command_types IS 'the types of commands that the newest program knows';

INSERT INTO command_types VALUES
    ('provider.create'), ('provider.update'), ('provider.delete'), ('provider.set_inventories'),
    ('provider.put_inventory'), ('provider.delete_inventory'), ('provider.set_traits'), ('provider.set_aggregates'),
    ('consumer.set_allocations'), ('consumer.set_many'), ('consumer.reshape'),
    ('stack.create'), ('stack.update'), ('stack.delete'), ('stack.rollback'), ('stack.cancel'), ('stack.set_state'),
    ('document.put'), ('document.merge'), ('document.delete');
