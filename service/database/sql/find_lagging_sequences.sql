-- The sequences that would give a number which is taken, with the highest one that is. A number that is given meanwhile
-- is higher than all that this statement sees.
SELECT name, next, highest
FROM (
    SELECT 'batches_id_seq' AS name, last_value + is_called::integer AS next, greatest(
        (SELECT max(id) FROM batches), (SELECT max(batch_id) FROM ledger), (SELECT max(batch_id) FROM outbox)
    ) AS highest
    FROM batches_id_seq
    UNION ALL
    SELECT 'waiting_messages_id_seq', last_value + is_called::integer, (SELECT max(id) FROM waiting_messages)
    FROM waiting_messages_id_seq
    UNION ALL
    SELECT 'held_messages_position_seq', last_value + is_called::integer, (SELECT max(position) FROM held_messages)
    FROM held_messages_position_seq
) AS sequences
WHERE next <= highest
ORDER BY name
