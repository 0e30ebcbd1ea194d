"""The broker of the hostile runs, with the users and limits of docs/roles.md."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from genlock.servers.local import LocalRabbit
from genlock.servers.programs import Programs
from genlock.service.settings import Settings
from tests.hostile.arena import Arena, arena
from tests.hostile.roles import set_up
from tests.support.database import Connection


@pytest.fixture(scope="session")
def rabbit(programs: Programs) -> Iterator[LocalRabbit]:
    """A broker on which docs/roles.md was followed."""
    with LocalRabbit(programs) as rabbit:
        set_up(rabbit)
        yield rabbit


@pytest.fixture
async def field(rabbit: LocalRabbit, settings: Settings, second: Connection, tmp_path: Path) -> AsyncIterator[Arena]:
    """A replica among innocents."""
    async with arena(rabbit, settings, second, tmp_path / "log") as made:
        yield made
