"""Resource providers: trees, inventories, traits and aggregates, guarded by a generation."""
