-- Be the one sweeper until the transaction ends. The key is "sweep" in ASCII.
SELECT pg_try_advisory_xact_lock(x'7377656570'::bigint)
