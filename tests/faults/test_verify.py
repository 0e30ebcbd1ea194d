"""The proof holds at every moment of a system at work, not only once all is quiet."""

from genlock.service.database.verify import verify
from genlock.service.kinds.registry import KINDS
from genlock.service.settings import Settings
from tests.faults.load import MANY, Load
from tests.support.harness import serving

"""Events, while proof follows proof: that takes some seconds."""


async def test_a_live_system_is_proved_again_and_again(load: Load, quick: Settings) -> None:
    proofs, violations = 0, []
    async with serving(quick), serving(quick):
        load.begin()
        while len(load.journal.events) < MANY:
            violations += [
                checked async for checked in verify(quick.database_url.get_secret_value(), KINDS) if checked.violations
            ]
            proofs += 1
        await load.proved()
    assert violations == []
    assert proofs > 2
