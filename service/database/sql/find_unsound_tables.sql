-- Those of the tables that would not keep what is written to them, or would not show it to this role.
SELECT name, unlogged, filtered, keyless
FROM unnest($1::text[]) AS name
JOIN pg_class ON pg_class.oid = to_regclass(name) AND relkind IN ('r', 'p')
CROSS JOIN LATERAL (
    SELECT
        relpersistence = 'u' AS unlogged,
        row_security_active(pg_class.oid) AS filtered,
        NOT EXISTS (
            SELECT FROM pg_index WHERE indrelid = pg_class.oid AND indisprimary AND indisvalid AND indimmediate
        ) AS keyless
) AS found
WHERE unlogged OR filtered OR keyless
ORDER BY name
