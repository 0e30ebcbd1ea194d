"""A sale: far more clients than seats, and time between what each of them read and what it sends.

Each change of the document has one winner, so contending clients make progress, and none gives up while it
has time left: every seat is sold once, and a late client finds the sale over in the document's state.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

import pytest

import genlock
from genlock import DocumentPut, DocumentState
from genlock.service.settings import Settings
from tests.support.factories import new_id
from tests.support.harness import serving

BUYERS, SEATS = 200, 50
CONNECTIONS = 20
TIMEOUT_S = 100.0
"""Far more than it takes, for the machine may have other work."""

Sell = Callable[[DocumentState, list[int]], "DocumentPut | partial[DocumentPut]"]


def with_token(seats: DocumentState, sold: list[int]) -> DocumentPut:
    return DocumentPut(expected_generation=seats.generation, body={"sold": sold})


def without_token(_seats: DocumentState, sold: list[int]) -> partial[DocumentPut]:
    return partial(DocumentPut, body={"sold": sold})


async def buy(
    client: genlock.Client, subject: str, buyer: int, took_s: float, sell: Sell, *, attempts: int | None = None
) -> genlock.Outcome | None:
    """Take the next seat, and some time over it."""

    async def next_seat(seats: DocumentState | None) -> DocumentPut | partial[DocumentPut] | None:
        assert seats is not None
        if len(seats.body["sold"]) == SEATS:
            return None
        await asyncio.sleep(took_s)
        return sell(seats, [*seats.body["sold"], buyer])

    return await client.change("document", subject, next_seat, attempts, timeout_s=TIMEOUT_S)


@pytest.mark.timeout(2 * TIMEOUT_S)
@pytest.mark.parametrize(
    ("took_s", "sell"), [(0.0, with_token), (0.02, without_token), (0.05, with_token), (0.1, without_token)]
)
@pytest.mark.usefixtures("client")
async def test_every_seat_is_sold_and_each_client_that_comes_too_late_hears_it_from_the_state(
    settings: Settings, took_s: float, sell: Sell
) -> None:
    subject, url = new_id(), settings.amqp_url.get_secret_value()
    async with serving(settings), AsyncExitStack() as opened:
        clients = [
            await opened.enter_async_context(genlock.connect(url, namespace=settings.namespace, timeout_s=TIMEOUT_S))
            for _ in range(CONNECTIONS)
        ]
        opening = DocumentPut(expected_generation=None, body={"sold": []})
        await clients[0].send(genlock.command(opening, subject=subject))
        told = await asyncio.gather(
            *(buy(clients[buyer % CONNECTIONS], subject, buyer, took_s, sell) for buyer in range(BUYERS))
        )
        seats = await clients[0].get("document", subject)
    winners = {buyer for buyer, outcome in enumerate(told) if isinstance(outcome, genlock.Succeeded)}
    assert seats is not None
    assert (len(winners), sum(outcome is None for outcome in told)) == (SEATS, BUYERS - SEATS)
    assert (sorted(seats.body["sold"]), seats.generation) == (sorted(winners), SEATS)


@pytest.mark.usefixtures("client")
async def test_a_limit_of_attempts_still_ends_a_change(settings: Settings) -> None:
    subject, url = new_id(), settings.amqp_url.get_secret_value()
    async with serving(settings), genlock.connect(url, namespace=settings.namespace) as buyer:
        opening = DocumentPut(expected_generation=None, body={"sold": []})
        await buyer.send(genlock.command(opening, subject=subject))

        async def outrun(seats: DocumentState | None) -> DocumentPut:
            assert seats is not None
            faster = DocumentPut(expected_generation=seats.generation, body={"sold": [1]})
            await buyer.send(genlock.command(faster, subject=subject))
            return DocumentPut(expected_generation=seats.generation, body={"sold": [2]})

        with pytest.raises(genlock.GaveUp, match="each of 3 attempts"):
            await buyer.change("document", subject, outrun, 3)
