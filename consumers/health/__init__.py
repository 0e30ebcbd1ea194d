"""Probes and metrics, and the activity that they report."""
