"""`python -m genlock.cli` is `genlock`."""

from genlock.cli import main

main()
