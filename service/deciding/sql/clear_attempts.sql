-- Forget a suspect: it was decided.
DELETE FROM suspects WHERE id = $1
