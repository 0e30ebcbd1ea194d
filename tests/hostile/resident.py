"""A replica as a process of its own, and the most memory that it has had resident."""

import asyncio
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from genlock.service.settings import Settings
from tests.support.command_line import environment
from tests.support.harness import DEADLINE_S, until
from tests.support.paths import REPOSITORY

MANIFEST = REPOSITORY / "deploy" / "kubernetes" / "deployment.yaml"
SHARE_MAX = 0.8
"""How much of the manifest's limit may be resident: the rest is for what no test has thought of."""

UNITS = {"Mi": 2**20, "Gi": 2**30}


def limit_bytes() -> int:
    """The memory limit of a replica's container in the manifest."""
    deployment = yaml.safe_load(MANIFEST.read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    limit = container["resources"]["limits"]["memory"]
    return int(limit[:-2]) * UNITS[limit[-2:]]


@dataclass(frozen=True)
class Replica:
    """A running replica."""

    process: Process
    log: Path

    def says(self, text: str) -> Callable[[], Awaitable[bool]]:
        """Return a function that tells whether its log has that text."""

        async def has_said() -> bool:
            return _has(self.log, text)

        return has_said

    @property
    def peak_bytes(self) -> int:
        """The most that was resident since its start."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def check(self) -> None:
        """Fail unless it still runs, and never had more resident than it may."""
        assert self.process.returncode is None, "the replica died"
        mib = self.peak_bytes // 2**20
        assert mib <= limit_bytes() * SHARE_MAX // 2**20, f"{mib} MiB were resident"


def _has(log: Path, text: str) -> bool:
    return text.encode() in log.read_bytes()


@asynccontextmanager
async def replica(settings: Settings, log: Path, **variables: str) -> AsyncIterator[Replica]:
    """Run `genlock serve` with default settings until the context ends; `log` is a file for what it says."""
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            REPOSITORY / ".venv" / "bin" / "genlock",
            "serve",
            stdin=DEVNULL,
            stderr=errors,
            env=environment(settings) | {"GENLOCK_HTTP_PORT": "0"} | variables,
        )
    running = Replica(process, log)
    try:
        await until(running.says('"ready"'), DEADLINE_S)
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
