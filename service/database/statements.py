"""SQL statements, one a file in the folder `sql` of the package that runs it. The header states the purpose.

Names are unique over all packages, so a name identifies a statement.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

SQL, CHECKS = "sql", "checks"


@cache
def statement(name: str) -> str:
    """Read the statement `name`, the file's name without `.sql`."""
    return statement_files()[name].read_text()


@cache
def check(name: str) -> str:
    """Read a check of `genlock verify`, whose rows are violations."""
    return check_files()[name].read_text()


@cache
def statement_files() -> Mapping[str, Traversable]:
    """All statements, by their names."""
    return _by_name(SQL)


@cache
def check_files() -> Mapping[str, Traversable]:
    """All checks, by their names."""
    return _by_name(CHECKS)


def _by_name(folder: str) -> Mapping[str, Traversable]:
    files = list(_files(resources.files("genlock.service"), folder))
    found = {file.name.removesuffix(".sql"): file for file in files}
    if len(found) < len(files):
        raise LookupError(f"two files in folders {folder} have the same name")
    return found


def _files(where: Traversable, folder: str) -> Iterator[Traversable]:
    for entry in where.iterdir():
        if entry.is_dir() and entry.name == folder:
            yield from (file for file in entry.iterdir() if file.name.endswith(".sql"))
        elif entry.is_dir():
            yield from _files(entry, folder)
