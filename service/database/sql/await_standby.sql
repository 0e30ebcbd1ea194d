-- Something to commit, so that the COMMIT waits for the synchronous standby to have all that was written before.
SELECT pg_logical_emit_message(true, 'genlock', '')
