"""Links between the pages of the repository: the file is there, and the heading in it."""

import re
from pathlib import Path

import pytest

from scripts.reference.markdown import anchor
from tests.support.paths import REPOSITORY

PAGES = sorted({*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), REPOSITORY / "bench/README.md"})

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_SHOWN = re.compile(r"[`*]|\[([^\]]*)\]\([^)]*\)")


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings; a heading that comes again has a number."""
    found: dict[str, int] = {}
    for heading in _HEADING.findall(_BLOCK.sub("", page.read_text())):
        name = anchor(_SHOWN.sub(r"\1", heading))
        found[name] = found.get(name, -1) + 1
    return {f"{name}-{number}" if number else name for name, count in found.items() for number in range(count + 1)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(_BLOCK.sub("", page.read_text())):
        if "://" in target:
            continue
        path, mark, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if mark and file.suffix == ".md":
            assert f"#{fragment}" in anchors(file), target
