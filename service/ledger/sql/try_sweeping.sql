-- Be the one sweeper until this is taken back, or the connection ends. The key is "sweep" in ASCII.
SELECT pg_try_advisory_lock(x'7377656570'::bigint)
