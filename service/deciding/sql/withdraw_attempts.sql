-- Take one attempt at each of these suspects back: the process that made it ends in good order.
UPDATE suspects SET times = times - 1 WHERE id = ANY ($1::uuid[])
