-- In how long the next destination is to be tried; null where nothing waits. At once if one is further away than the
-- longest pause, $1, as in claim_destination.sql.
SELECT
    CASE
        WHEN max(next_at) > clock_timestamp() + $1::interval THEN interval '0'
        ELSE min(next_at) - clock_timestamp()
    END
FROM destinations
