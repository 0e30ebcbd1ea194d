"""Consumers and what is allocated to them, guarded by generations and capacity."""
