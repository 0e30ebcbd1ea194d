-- compatible since 7
-- Rows of history never change, so the first vacuum may freeze them for good, and no later one reads them again. By
-- default it would come after a fifth of the table was added, and the one against wraparound would read all of it.
ALTER TABLE changes SET (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_freeze_min_age = 0);
