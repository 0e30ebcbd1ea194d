"""A contestant's process: started with what it needs to know in its environment, and never left behind."""

import asyncio
import os
import signal
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from genlock.servers_local import die_with_parent

STOP_TIMEOUT_S = 30.0


@asynccontextmanager
async def process(program: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[Process]:
    """Run a Python module beside the body; end it with SIGTERM, on which it settles what it holds.

    Raises RuntimeError, with what it said, where it does not exit with 0.
    """
    with tempfile.TemporaryFile() as output:
        started = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *program),
            env=os.environ | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, signal.SIGKILL, os.getpid()),
        )
        try:
            yield started
        finally:
            status = await _end(started)
        if status != 0:
            output.seek(0)
            raise RuntimeError(f"{program[0]} exited with {status}:\n{output.read().decode(errors='replace')}")


async def _end(started: Process) -> int:
    if started.returncode is None:
        started.send_signal(signal.SIGTERM)
    try:
        return await asyncio.wait_for(started.wait(), STOP_TIMEOUT_S)
    except TimeoutError:
        started.kill()
        return await started.wait()
