"""A replica as a process of its own, `genlock serve`, that can be killed, frozen and started again."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp

from genlock.servers.local import die_with_parent

ASK_TIMEOUT_S = 2.0
RESTART_S = 0.5

SILENT = ["it does not answer"]


class Replica:
    """One `genlock serve`; started again, it has the same settings and the same HTTP port."""

    def __init__(self, settings: Mapping[str, str], log: Path) -> None:
        self.log = log
        """What all its processes have said."""
        self.ended_by_itself: list[int] = []
        """The exit codes of processes that ended by themselves."""
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("GENLOCK_")}
        self._environment |= {f"GENLOCK_{name}": value for name, value in settings.items()}
        self._process: Process | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start a process, without waiting for it to be ready. Only in the main thread: it ends with that."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "genlock.cli", "serve"),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=partial(die_with_parent, signal.SIGKILL, os.getpid()),
            )
        self._watching = asyncio.create_task(self._watch(self._process))

    async def kill(self) -> None:
        """End it as a power cut would."""
        await self._end(signal.SIGKILL, None)

    async def terminate(self, timeout_s: float) -> int:
        """Let it settle what it holds; return its exit code. Raises TimeoutError if it takes longer than that."""
        return await self._end(signal.SIGTERM, timeout_s)

    def freeze(self) -> None:
        """Stop its clock, as the pause of a virtual machine does."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    async def complaints(self, http: aiohttp.ClientSession, what: str) -> list[str]:
        """Ask for readyz or livez: what it complains of, nothing if all is well, SILENT without an answer."""
        url = f"http://127.0.0.1:{self._environment['GENLOCK_HTTP_PORT']}/{what}"
        try:
            async with http.get(url, timeout=aiohttp.ClientTimeout(ASK_TIMEOUT_S)) as answer:
                reasons: list[str] = (await answer.json())["reasons"]
        except (aiohttp.ClientError, TimeoutError):
            return SILENT
        return reasons

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def _end(self, number: signal.Signals, timeout_s: float | None) -> int:
        if self._process is None:
            return 0
        if self._watching is not None:
            self._watching.cancel()
        self._signal(number)
        async with asyncio.timeout(timeout_s):
            code = await self._process.wait()
        self._process = None
        return code

    async def _watch(self, process: Process) -> None:
        """Note an unplanned end, and start another process, as an operator would."""
        self.ended_by_itself.append(await process.wait())
        await asyncio.sleep(RESTART_S)
        await self.start()


@asynccontextmanager
async def running(name: str, settings: Mapping[str, str], logs: Path) -> AsyncIterator[Replica]:
    """Start a replica, which is killed in the end; `settings` are named without their prefix."""
    replica = Replica(settings, logs / f"{name}.log")
    await replica.start()
    try:
        yield replica
    finally:
        await replica.kill()
