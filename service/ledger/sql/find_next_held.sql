-- How long it is until the next held message is to be tried. At once if one is further away than the longest pause, $1, as
-- in claim_held.sql.
SELECT
    CASE
        WHEN max(next_at) > clock_timestamp() + $1::interval THEN interval '0'
        ELSE min(next_at) - clock_timestamp()
    END
FROM held_messages
WHERE next_at < 'infinity'
