"""The oracle sees what it is there for: after work without a fault, each damage is found."""

from collections.abc import AsyncIterator, Callable

import pytest

from genlock.schemas.outcomes import outcome_id
from genlock.service.settings import Settings
from tests.faults.load import SOME, Load
from tests.faults.messages import OutgoingMessage, of_unknown_type, probe, without_id
from tests.faults.oracle import NotProvedError
from tests.support.database import Connection
from tests.support.harness import serving, until

SOON_S = 0.5

UNCONFIRM = """
UPDATE batches SET confirmed_at = NULL, decided_at = now() + '1 hour'
WHERE id = (SELECT batch_id FROM ledger WHERE id = $1)
"""


@pytest.fixture
async def worked(load: Load, quick: Settings, second: Connection) -> AsyncIterator[Load]:
    """Load that has ended, with a replica that has nothing left to do; nothing is checked yet."""

    async def all_confirmed() -> bool:
        confirmed: bool = await second.fetchval("SELECT bool_and(confirmed_at IS NOT NULL) FROM batches")
        return confirmed

    async with serving(quick):
        load.begin()
        await load.until_seen(SOME)
        await load.probe()
        await load.end()
        await load.nothing_left()
        await until(all_confirmed)
        yield load


async def test_nothing_is_wrong_after_work_without_a_fault(worked: Load) -> None:
    ids = {outgoing.id for outgoing in worked.journal.confirmed if outgoing.command is not None}
    verdicts = await worked.proved()
    assert verdicts.total() == len(ids)
    assert verdicts["document", "succeeded"] > 0


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("DELETE FROM ledger WHERE id = $1", "have no verdict"),
        ("UPDATE ledger SET event = event || ' ' WHERE id = $1", "is not the ledger's"),
        ("UPDATE ledger SET content_hash = 'x' WHERE id = $1", "have a verdict that was not seen"),
        (UNCONFIRM, "batches are not confirmed"),
        ('UPDATE documents SET body = \'{"lost": "update"}\' WHERE maker_id = $1', "the model does not explain it"),
        ("UPDATE documents SET generation = generation + 1 WHERE maker_id = $1", "not true: Every sequence number"),
    ],
)
async def test_damage_to_the_tables_is_found(worked: Load, second: Connection, damage: str, finding: str) -> None:
    await second.execute(damage, _probe_of(worked).id)
    with pytest.raises(NotProvedError, match=finding):
        await worked.oracle.check(SOON_S)


async def test_verdict_that_no_client_saw_is_found(worked: Load) -> None:
    del worked.journal.events[outcome_id(_probe_of(worked).id)]
    with pytest.raises(NotProvedError, match="have a verdict that was not seen"):
        await worked.oracle.check(SOON_S)


async def test_event_that_came_with_other_bytes_is_found(worked: Load, second: Connection) -> None:
    event = await second.fetchval("SELECT event FROM ledger WHERE id = $1", _probe_of(worked).id)
    worked.journal.was_seen(f"{event} ".encode(), again=False)
    with pytest.raises(NotProvedError, match="came with other bytes"):
        await worked.oracle.check(SOON_S)


async def test_event_of_a_command_that_no_client_sent_is_found(worked: Load) -> None:
    worked.journal.confirmed.pop(_probe_of(worked))
    with pytest.raises(NotProvedError, match="no client has sent them"):
        await worked.oracle.check(SOON_S)


@pytest.mark.parametrize(
    ("make", "finding"),
    [
        (without_id, "cannot be decoded and are not in the dead letters"),
        (of_unknown_type, "have no verdict"),
        (probe, "have no verdict"),
    ],
)
async def test_confirmed_message_that_never_arrived_is_found(
    worked: Load, make: Callable[[], OutgoingMessage], finding: str
) -> None:
    worked.journal.was_confirmed(make())
    with pytest.raises(NotProvedError, match=finding):
        await worked.oracle.check(SOON_S)


def _probe_of(load: Load) -> OutgoingMessage:
    [outgoing] = [outgoing for outgoing in load.journal.confirmed if outgoing.urgent]
    return outgoing
