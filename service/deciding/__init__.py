"""Deciding: from commands and the rows that they touch to verdicts, in one transaction."""
