-- Let other batches move providers in their trees and consumers between providers meanwhile, as this one may, or ($1)
-- let no other one do so, until the transaction ends. The key is "moves" in ASCII.
SELECT
    CASE
        WHEN $1::boolean THEN pg_advisory_xact_lock(x'6d6f766573'::bigint)
        ELSE pg_advisory_xact_lock_shared(x'6d6f766573'::bigint)
    END
