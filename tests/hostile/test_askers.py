"""An asker does his worst with all the rights that he has, and the others' p99 stays within 5 times."""

from functools import partial

import pytest

from genlock.schemas.queries import QUERIES
from tests.hostile.arena import Arena, Hostility
from tests.hostile.beyond import told
from tests.hostile.questions import ODD_QUESTIONS, QUESTIONS
from tests.hostile.roles import attacker, attacking
from tests.hostile.worst import Worst

ALL = QUESTIONS | ODD_QUESTIONS


def test_each_type_of_query_has_its_worst() -> None:
    assert QUESTIONS.keys() == QUERIES.keys()


def test_what_is_not_held_stands_in_the_guarantees() -> None:
    assert told("askers") == {name: worst.told for name, worst in ALL.items() if worst.held < worst.largest}


def hostility(field: Arena, name: str, worst: Worst) -> Hostility:
    """The attack of an asker, who may send queries of a kind."""
    first_word = name.split(".", maxsplit=1)[0] if name in QUESTIONS else {"terms": "provider"}.get(name, "document")
    volley = partial(worst.volley, field.ground, worst.held)
    return partial(attacking, attacker(field.rabbit, first_word), "genlock.reads", volley)


@pytest.mark.timeout(600)
async def test_an_asker_does_his_worst_and_the_others_do_not_wait(field: Arena) -> None:
    await field.check({name: hostility(field, name, worst) for name, worst in ALL.items()})
