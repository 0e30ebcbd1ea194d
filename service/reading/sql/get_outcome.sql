-- The outcome event of a decided command. Null stands for any kind of record.
SELECT event
FROM ledger
WHERE id = $1 AND ($2::text IS NULL OR split_part(event::json ->> 'type', '.', 1) = $2)
