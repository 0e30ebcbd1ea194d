-- Note that a command is about to be decided alone, and tell how often that makes.
INSERT INTO suspects (id, times) VALUES ($1, 1)
ON CONFLICT (id) DO UPDATE SET times = suspects.times + 1
RETURNING times
