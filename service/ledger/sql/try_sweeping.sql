-- Take the sweep lock, for one row if it is free, until it is released or the connection ends. That ends once it is idle
-- for the time $1: its other end may be gone without a word, or stand still. The key is "sweep" in ASCII.
SELECT set_config('idle_session_timeout', $1, false) WHERE pg_try_advisory_lock(x'7377656570'::bigint)
