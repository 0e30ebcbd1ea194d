-- Of large tables the default would let a fifth die before it is cleared away. Old rows go all the time, at one end.
ALTER TABLE ledger SET (autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE batches SET (autovacuum_vacuum_scale_factor = 0.02);
