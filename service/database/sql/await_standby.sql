-- Write a record, so that the COMMIT waits until the synchronous standby has everything written before.
SELECT pg_logical_emit_message(true, 'genlock', '')
