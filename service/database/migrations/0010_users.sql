-- compatible since 7
-- The user of the broker that published a command, as the broker has checked; null where it is unknown. A program that
-- does not know these columns changes a maker without its user: the user is that of `maker_user_of` alone.
ALTER TABLE documents ADD COLUMN maker_user text, ADD COLUMN maker_user_of uuid;
ALTER TABLE stacks ADD COLUMN maker_user text, ADD COLUMN maker_user_of uuid;
ALTER TABLE providers ADD COLUMN maker_user text, ADD COLUMN maker_user_of uuid;
ALTER TABLE consumers ADD COLUMN maker_user text, ADD COLUMN maker_user_of uuid;
ALTER TABLE changes ADD COLUMN command_user text;
