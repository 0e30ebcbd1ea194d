"""The benchmarks, with the peers that Genlock is held against: `make bench`."""
