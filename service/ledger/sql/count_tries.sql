-- Note that the broker refused these messages again.
UPDATE waiting_messages SET tries = tries + 1 WHERE id = ANY ($1::bigint[])
