"""The proof holds at every moment of a system at work, not only once all is quiet."""

from genlock.service.database.verify import verify
from genlock.service.settings import Settings
from tests.faults.load import Load
from tests.harness import serving

SOME = 250
"""Events, while proof follows proof: that takes some seconds."""


async def test_a_live_system_is_proved_again_and_again(load: Load, quick: Settings) -> None:
    proofs, offences = 0, []
    async with serving(quick), serving(quick):
        load.begin()
        while len(load.journal.events) < SOME:
            offences += [checked async for checked in verify(quick.database_url.get_secret_value()) if checked.offences]
            proofs += 1
        await load.proved()
    assert offences == []
    assert proofs > 5
