-- The outcome event of a decided command.
SELECT event FROM ledger WHERE id = $1
