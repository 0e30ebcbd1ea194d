-- Those of the keys that held messages wait for.
SELECT DISTINCT record FROM held WHERE record = ANY ($1::text[])
