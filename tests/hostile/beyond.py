"""What docs/guarantees.md says is beyond the bound."""

import re

from tests.support.paths import REPOSITORY

GUARANTEES = REPOSITORY / "docs" / "guarantees.md"


def told(role: str) -> dict[str, str]:
    """Up to which size the worst of each type is held, by its name in the table of a role."""
    page = GUARANTEES.read_text()
    found = re.search(rf"^\| of {role} \|.*?(\n\n|\Z)", page, re.DOTALL | re.MULTILINE)
    assert found, f"docs/guarantees.md has no table of {role}"
    return dict(re.findall(r"^\| `([^`]+)` \| (.*?) \|$", found[0], re.MULTILINE))
