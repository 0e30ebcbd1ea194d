-- Those of the keys of names that another transaction has locked. It frees the others at its end.
SELECT key FROM unnest($1::bigint[]) AS key WHERE NOT pg_try_advisory_xact_lock(key)
