-- Share the trees of providers with other batches that move some, or ($1) have them alone, until the transaction ends.
-- The key is "trees" in ASCII.
SELECT
    CASE
        WHEN $1::boolean THEN pg_advisory_xact_lock(x'7472656573'::bigint)
        ELSE pg_advisory_xact_lock_shared(x'7472656573'::bigint)
    END
