"""Stacks, guarded by a traversal."""
