-- Have messages that are behind others wait until these are gone.
UPDATE held_messages
SET next_at = 'infinity'
WHERE position = ANY ($1::bigint[])
  AND EXISTS (
    SELECT FROM held AS own JOIN held AS before ON before.record = own.record AND before.position < own.position
    WHERE own.position = held_messages.position
  )
