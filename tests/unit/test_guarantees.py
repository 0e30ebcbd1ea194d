"""The tables of guarantees: every test that they name is there, under that name."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.guards.removal import GUARDS
from tests.support.paths import REPOSITORY

PAGES = (REPOSITORY / "README.md", REPOSITORY / "docs" / "guarantees.md")

_LINK = re.compile(r"\[([^\]]+)\]\(([^)]*tests/[^)]*/test_\w+\.py)\)")
_TEST = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """A promise, and the links to tests in each column after it."""

    page: Path
    promise: str
    columns: tuple[tuple[tuple[str, str], ...], ...]


def rows(page: Path) -> list[Row]:
    """The rows of the page's table of promises."""
    _, _, table = page.read_text().partition("| promise |")
    found = []
    for line in table.split("\n\n")[0].splitlines()[2:]:
        promise, *cells = (cell.strip() for cell in line.strip("|").split(" | "))
        found.append(Row(page, promise, tuple(tuple(_LINK.findall(cell)) for cell in cells)))
    return found


ROWS = [row for page in PAGES for row in rows(page)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.promise)
def test_tests_that_a_promise_names_are_there(row: Row) -> None:
    """A link's text is the test's name, with spaces."""
    for text, target in (link for links in row.columns for link in links):
        file = (row.page.parent / target).resolve()
        assert f"test_{text.replace(' ', '_').lower()}" in _TEST.findall(file.read_text()), target


@pytest.mark.parametrize("row", rows(PAGES[0]), ids=lambda row: row.promise)
def test_every_promise_names_a_test(row: Row) -> None:
    [tests] = row.columns
    assert tests


@pytest.mark.parametrize("row", rows(PAGES[1]), ids=lambda row: row.promise)
def test_every_guard_has_a_test_that_it_holds_and_one_of_what_breaks_without(row: Row) -> None:
    _, holds, breaks = row.columns
    assert holds
    assert len(breaks) == 1


def test_every_guard_that_is_taken_away_is_on_the_page() -> None:
    page = PAGES[1].read_text()
    assert [guard for guard in GUARDS if f"**{guard}**" not in page.replace("Tokens", "tokens")] == []


def test_both_tables_are_read_whole() -> None:
    """A table in another format must not count as complete."""
    assert [len(rows(page)) for page in PAGES] == [_lines(page) for page in PAGES]


def _lines(page: Path) -> int:
    """How many lines of the page name a test in a table."""
    return sum(line.startswith("|") and "/test_" in line for line in page.read_text().splitlines())
