-- Lock and read stacks, in the order of their ids: those that may change ($2) exclusively, the others so that other
-- batches may read them too. Where all may change, lock_stacks.sql is faster.
-- One before which there are $3 bytes does not fit, and comes without its contents. After them comes a row with the time,
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
        ) < $3 AS fits
    FROM (
        SELECT
            id, sequence, name, action, status, status_reason, traversal, previous_traversal, template, previous_template,
            disable_rollback, timeout_s, maker_id, maker_type, maker_source, maker_time,
            CASE WHEN maker_user_of = maker_id THEN maker_user END AS maker_user
        FROM (SELECT * FROM unnest($1::uuid[], $2::boolean[]) AS asked (asked_id, changes) ORDER BY asked_id) AS asked
        CROSS JOIN LATERAL (
            SELECT * FROM (SELECT * FROM stacks WHERE id = asked_id AND changes FOR NO KEY UPDATE) AS changed
            UNION ALL
            SELECT * FROM (SELECT * FROM stacks WHERE id = asked_id AND NOT changes FOR SHARE) AS shared
        ) AS locked
    ) AS found
) AS counted
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, clock_timestamp()
