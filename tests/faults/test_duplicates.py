"""Publishers that send most things again, at once and later, in any order, to two replicas."""

from genlock.service.settings import Settings
from tests.faults.load import MANY, Load
from tests.support.harness import serving

COPY_SHARE = 0.4


async def test_copies_in_any_order_and_ids_that_are_used_again_end_in_one_verdict_for_each_id(
    load: Load, quick: Settings
) -> None:
    load.post.copy_share = COPY_SHARE
    async with serving(quick), serving(quick):
        load.begin()
        await load.until_seen(MANY)
        copies = sum(load.journal.confirmed.values()) - len(load.journal.confirmed)
        await load.proved()
    assert copies > MANY / 2
    assert load.journal.total["duplicate events"] > MANY / 2
    await load.nothing_left()
