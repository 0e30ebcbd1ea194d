"""A system's process, configured by its environment and always ended."""

import asyncio
import os
import signal
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO

from genlock.servers.local import die_with_parent

STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Program:
    """A Python module that runs as a process. `output` is the file with its output."""

    module: str
    process: Process
    output: IO[bytes]

    def must_run(self) -> None:
        """Raise RuntimeError with the output if the process has ended."""
        if self.process.returncode is not None:
            raise self.failed()

    def failed(self) -> RuntimeError:
        """The error with the exit code and the output."""
        self.output.seek(0)
        said = self.output.read().decode(errors="replace")
        return RuntimeError(f"{self.module} exited with {self.process.returncode}:\n{said}")

    async def stop(self) -> int:
        """Send SIGTERM, on which the process settles its deliveries; return the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            self.process.kill()
            return await self.process.wait()


@asynccontextmanager
async def program(module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[Program]:
    """Run a Python module while the context lasts. Raises RuntimeError unless it exits with 0."""
    with tempfile.TemporaryFile() as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments),
            env=os.environ | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, signal.SIGKILL, os.getpid()),
        )
        started = Program(module, process, output)
        try:
            yield started
        finally:
            status = await started.stop()
        if status != 0:
            raise started.failed()
