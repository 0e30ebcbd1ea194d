"""Publishers that send most things again, at once and later, in any order, to two replicas."""

import pytest

from genlock.service.settings import Settings
from tests.faults import clients
from tests.faults.load import Load
from tests.harness import serving

MANY = 0.4
SOME = 250


async def test_copies_in_any_order_and_ids_that_are_used_again_end_in_one_verdict_for_each_id(
    load: Load, quick: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "COPY_SHARE", MANY)
    async with serving(quick), serving(quick):
        load.begin()
        await load.until_seen(SOME)
        copies = sum(load.journal.confirmed.values()) - len(load.journal.confirmed)
        await load.proved()
    assert copies > SOME / 2
    assert load.journal.total["duplicate events"] > SOME / 2
    await load.nothing_left()
