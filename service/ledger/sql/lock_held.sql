-- Let no other transaction add held messages or take any away until this one ends. The key is "held" in ASCII.
SELECT pg_advisory_xact_lock(x'68656c64'::bigint)
