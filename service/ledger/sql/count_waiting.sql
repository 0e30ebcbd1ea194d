-- How many messages wait for a queue to take them, up to a limit.
SELECT count(*) FROM (SELECT FROM waiting_messages LIMIT $1) AS counted
