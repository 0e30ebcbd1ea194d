"""A publisher does his worst with all the rights that he has, and the others' p99 stays within 5 times."""

from functools import partial

import pytest

from genlock.schemas.catalogue import COMMANDS
from tests.hostile.arena import Arena, Hostility
from tests.hostile.beyond import told
from tests.hostile.roles import attacker, attacking
from tests.hostile.worst import ODD, WORST, Worst


def test_each_type_of_command_has_its_worst() -> None:
    assert WORST.keys() == COMMANDS.keys()


def test_what_is_not_held_stands_in_the_guarantees() -> None:
    assert told("publishers") == {**beyond_of(WORST), **beyond_of(ODD)}


def beyond_of(table: dict[str, Worst]) -> dict[str, str]:
    return {name: worst.told for name, worst in table.items() if worst.held < worst.largest}


def hostilities(field: Arena, table: dict[str, Worst], first_word: str = "") -> dict[str, Hostility]:
    """The attacks of a table, each by the publisher of its kind."""
    return {
        name: partial(
            attacking,
            attacker(field.rabbit, first_word or name.split(".")[0]),
            "genlock.commands",
            partial(worst.volley, field.ground, worst.held),
        )
        for name, worst in table.items()
    }


@pytest.mark.timeout(600)
async def test_a_publisher_does_his_worst_and_the_others_do_not_wait(field: Arena) -> None:
    await field.check(hostilities(field, WORST) | hostilities(field, ODD, "document"))
