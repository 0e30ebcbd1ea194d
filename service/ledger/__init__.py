"""The ledger: what was decided, and the events that tell it."""
