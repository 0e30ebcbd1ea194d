"""What the tests of the guards judge by: `genlock verify`, and what the service says of its own tries."""

from collections.abc import MutableMapping, Sequence
from typing import Any

from genlock.service.database.verify import verify
from genlock.service.kinds.registry import KINDS

TWICE = "No command has changed a record twice in the history,"
UNCHANGED = "Every accepted command that the ledger remembers has changed a record:"
TREES = "Every live provider hangs below a root"
NAMES = "Every live provider and stack holds its name"


async def wrong(database_url: str) -> list[str]:
    """The claims of `genlock verify` that do not hold."""
    return [checked.claim async for checked in verify(database_url, KINDS) if checked.violations]


def found(claims: Sequence[str], claim: str) -> bool:
    """Tell whether a claim with this prefix is among them."""
    return any(each.startswith(claim) for each in claims)


def decided_again(logs: Sequence[MutableMapping[str, Any]]) -> list[str]:
    """Why batches were decided again, from captured logs."""
    return [str(line["why"]) for line in logs if line.get("action") == "decide_again"]
