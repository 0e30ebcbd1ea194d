"""Documents: any JSON object, guarded by a generation."""
