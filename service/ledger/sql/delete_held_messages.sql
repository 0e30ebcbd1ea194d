-- Take messages away: they are decided, and their outcomes are published.
DELETE FROM held_messages WHERE position = ANY ($1::bigint[])
