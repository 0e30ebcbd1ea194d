-- Be the sweeper no more.
SELECT pg_advisory_unlock(x'7377656570'::bigint)
