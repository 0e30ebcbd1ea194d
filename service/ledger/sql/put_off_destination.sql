-- Have a destination tried again after a while. $3 is how often it has refused a message since it took one; below 0, how
-- often in a row it has taken all.
UPDATE destinations
SET tries = $3, next_at = clock_timestamp() + $4::interval
WHERE exchange = $1 AND routing_key = $2
