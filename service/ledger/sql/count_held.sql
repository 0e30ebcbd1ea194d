-- How many messages are held, up to a number, and for how many seconds the oldest has been.
SELECT
    (SELECT count(*) FROM (SELECT FROM held_messages LIMIT $1) AS counted) AS messages,
    coalesce((
        SELECT extract(epoch FROM clock_timestamp() - since)::float8 FROM held_messages ORDER BY position LIMIT 1
    ), 0) AS oldest_s
