-- A live provider, with its inventories and the root of its tree.
SELECT * FROM live_providers WHERE id = $1
