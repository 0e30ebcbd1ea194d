"""The checks of `genlock verify`: statements that find what must not be, one a file.

Each returns columns `record` and `found`, no row where all is well. They read a whole table, in one pass.
"""
