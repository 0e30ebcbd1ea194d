"""The ledger: decided commands and their outcome events."""
