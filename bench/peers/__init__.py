"""Programs that do Genlock's work in another way, each to be started as a process of its own."""
