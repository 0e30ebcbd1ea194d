"""Programs that do Genlock's work in another way, each started as a process."""
