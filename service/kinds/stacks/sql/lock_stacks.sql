-- Lock and read stacks, in the order of their ids.
-- One before which there are $2 bytes does not fit, and comes without its contents. After them comes a row with the time,
-- read when all are locked.
SELECT
    id, sequence, name, action, status, status_reason, traversal, previous_traversal,
    CASE WHEN fits THEN template END AS template, CASE WHEN fits THEN previous_template END AS previous_template,
    disable_rollback, timeout_s, maker_id, maker_type, maker_source, maker_time, maker_user, fits, NULL AS locked_at
FROM (
    SELECT
        *,
        coalesce(
            sum(octet_length(template::text) + coalesce(octet_length(previous_template::text), 0))
            OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0
        ) < $2 AS fits
    FROM (
        SELECT
            id, sequence, name, action, status, status_reason, traversal, previous_traversal, template, previous_template,
            disable_rollback, timeout_s, maker_id, maker_type, maker_source, maker_time,
            CASE WHEN maker_user_of = maker_id THEN maker_user END AS maker_user
        FROM stacks
        WHERE id = ANY ($1::uuid[])
        ORDER BY id
        FOR NO KEY UPDATE
    ) AS found
) AS counted
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, clock_timestamp()
