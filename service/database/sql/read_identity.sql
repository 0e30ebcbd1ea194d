-- What tells this database from others: the deployment, the cluster, and the database within it. A physical copy, such as a
-- standby that takes over, has the same.
SELECT concat_ws('.', (SELECT id FROM deployment), system_identifier, pg_database.oid)
FROM pg_control_system(), pg_database
WHERE datname = current_database()
