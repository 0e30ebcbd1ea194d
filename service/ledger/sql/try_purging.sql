-- Take the purge lock until the transaction ends. The key is "forget" in ASCII.
SELECT pg_try_advisory_xact_lock(x'666f72676574'::bigint)
