"""`python -m genlock` is `genlock`."""

from genlock.cli import main

main()
