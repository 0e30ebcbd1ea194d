-- Ask for nothing: the connection that holds the sweep lock is not idle.
SELECT
