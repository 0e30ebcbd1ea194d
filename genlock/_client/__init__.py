"""The parts of the client."""
