-- Forget what messages wait for.
DELETE FROM held WHERE position = ANY ($1::bigint[])
