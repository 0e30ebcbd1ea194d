"""Statements, one a file, each with its purpose in its header."""

from functools import cache
from importlib import resources


@cache
def statement(name: str) -> str:
    """Read the statement `name` (the file's name without `.sql`)."""
    return resources.files(__name__).joinpath(f"{name}.sql").read_text()
