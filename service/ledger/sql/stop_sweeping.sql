-- Release the sweep lock. From now on the connection may be idle for as long as before.
SELECT pg_advisory_unlock(x'7377656570'::bigint), set_config('idle_session_timeout', NULL, false)
