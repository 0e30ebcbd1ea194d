"""Update commands: from a delivery to its outcome and its acknowledgement."""
