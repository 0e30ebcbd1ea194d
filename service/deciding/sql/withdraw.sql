-- Take one accusation of each of these suspects back: who made it has lived to say so.
UPDATE suspects SET times = times - 1 WHERE id = ANY ($1::uuid[])
