"""Consumers and their allocations, guarded by generations and capacity."""
