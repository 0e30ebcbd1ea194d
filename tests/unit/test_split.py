"""Deliveries that are cut where a transaction has enough."""

from pamqp.commands import Basic

from genlock.consumers.commands.deliveries import Delivery, Part, commands_of, split
from genlock.schemas.decode import Undecodable
from tests.support.factories import new_id, put


def delivery(tag: int, parts: str) -> Delivery:
    """A delivery whose parts are commands (c) or undecodable (u)."""
    contents = [put(new_id(), 0) if part == "c" else Undecodable("why") for part in parts]
    every = tuple(Part(content, b"") for content in contents)
    return Delivery(tag, "document.put", Basic.Properties(), every, 10, len(parts) > 1, 0, redelivered=False)


def shape(deliveries: list[Delivery]) -> list[tuple[int, int]]:
    """The tag of each, and how many parts it has."""
    return [(each.tag, len(each.parts)) for each in deliveries]


def test_deliveries_are_cut_between_two() -> None:
    first, rest = split([delivery(1, "c"), delivery(2, "cc"), delivery(3, "c")], 3)
    assert (shape(first), shape(rest)) == ([(1, 1), (2, 2)], [(3, 1)])


def test_a_delivery_is_cut_between_two_of_its_commands_and_is_in_both() -> None:
    first, rest = split([delivery(1, "c"), delivery(2, "ucucu"), delivery(3, "c")], 2)
    assert (shape(first), shape(rest)) == ([(1, 1), (2, 3)], [(2, 2), (3, 1)])


def test_nothing_is_left_of_no_more_commands_than_fit() -> None:
    first, rest = split([delivery(1, "c"), delivery(2, "u")], 4)
    assert (shape(first), shape(rest)) == ([(1, 1), (2, 1)], [])


def test_what_is_no_command_may_be_all_that_is_left() -> None:
    first, rest = split([delivery(1, "c"), delivery(2, "u")], 1)
    assert (shape(first), shape(rest)) == ([(1, 1)], [(2, 1)])


def test_any_cuts_keep_all_commands_in_their_order() -> None:
    deliveries = [delivery(1, "ccuc"), delivery(2, "c"), delivery(3, "ucc")]
    for at_once in range(1, 8):
        seen, left = [], deliveries
        while left:
            first, left = split(left, at_once)
            seen += commands_of(first)
        assert seen == commands_of(deliveries)
