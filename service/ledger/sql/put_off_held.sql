-- Have a message tried again after a while.
UPDATE held_messages
SET tries = tries + 1, why = $2, next_at = clock_timestamp() + $3::interval
WHERE position = $1
