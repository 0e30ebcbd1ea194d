"""Decides: settings, the database, the ledger, the rules of each record kind, and reads."""
