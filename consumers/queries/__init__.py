"""Queries: reads over request and reply."""
