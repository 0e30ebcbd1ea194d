-- Have those messages tried at once that wait for one of these keys, and are behind no other any more.
UPDATE held_messages
SET next_at = clock_timestamp()
WHERE next_at = 'infinity'
  AND position IN (
    SELECT (SELECT min(position) FROM held WHERE held.record = freed.record) FROM unnest($1::text[]) AS freed (record)
  )
  AND NOT EXISTS (
    SELECT FROM held AS own JOIN held AS before ON before.record = own.record AND before.position < own.position
    WHERE own.position = held_messages.position
  )
