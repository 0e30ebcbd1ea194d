"""The tables of docs/contract.md that are not made from the code say what the code says."""

import re

from genlock.schemas.codes import Code
from genlock.schemas.queries import ProviderList
from genlock.schemas.stacks import Action, Status
from genlock.service.kinds.allocations.rules import CHECK_ORDER
from genlock.service.kinds.stacks.rules import REFUSALS, RULES
from tests.support.paths import REPOSITORY

CONTRACT = (REPOSITORY / "docs" / "contract.md").read_text()


def rows(first_column: str) -> list[list[str]]:
    """The table that begins with this column: its head, and its rows."""
    _, _, table = CONTRACT.partition(f"\n| {first_column} |")
    lines = f"| {first_column} |{table}".split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def refusals() -> dict[tuple[Action, Status], dict[str, Code]]:
    """What a stack refuses in each action and status, as the page has it."""
    head, *body = rows("action, status")
    found: dict[tuple[Action, Status], dict[str, Code]] = {}
    for state, *cells in body:
        if state == "deleted":
            continue
        *actions, status = re.findall(r"[A-Z_]{4,}", state)
        refused = {verb: Code(cell.strip("`")) for verb, cell in zip(head[1:], cells, strict=True) if cell != "yes"}
        found |= {(Action(action), Status(status)): refused for action in actions}
    return found


def test_stack_refuses_what_the_table_says() -> None:
    table = refusals()
    # A stack that was deleted is a tombstone, which refuses everything.
    assert table.keys() == {(a, s) for a in Action for s in Status} - {(Action.DELETE, Status.COMPLETE)}
    assert {state: REFUSALS.get(state, {}) for state in table} == table


def test_table_of_stacks_has_every_command_on_one() -> None:
    head, *_ = rows("action, status")
    assert {f"stack.{verb}" for verb in head[1:]} == RULES.keys() - {"stack.create"}


def test_allocations_are_checked_in_the_order_of_the_page() -> None:
    (order,) = re.findall(r"is checked in this order: (.*?) \(\[what", CONTRACT, re.DOTALL)
    assert re.findall(r"`(\w+)`", order) == ["not_found", "unknown_resource_class", *CHECK_ORDER]


def test_filters_of_providers_are_those_of_the_table() -> None:
    _, *body = rows("filter")
    assert {row[0].strip("`") for row in body} == ProviderList.model_fields.keys() - {"limit", "after"}
