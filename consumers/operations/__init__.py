"""What operators do with a running system: lanes, republishing and dead letters."""
