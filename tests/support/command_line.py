"""`genlock`, the command line, as a process of its own: with pipes, as programs run it, or on a terminal."""

import asyncio
import json
import os
import pty
import re
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass

from genlock.service.settings import Settings
from tests.support.factories import Json
from tests.support.forked import start_module
from tests.support.harness import DEADLINE_S

CHUNK_BYTES = 2**16
COLUMNS = "200"


@dataclass(frozen=True)
class Ran:
    """How a run of the command line went."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[Json]:
        """What it printed, as JSON Lines."""
        return [json.loads(line) for line in self.out.splitlines()]


def environment(settings: Settings) -> dict[str, str]:
    """The variables of a process that works with these servers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GENLOCK_")}
    return kept | {
        "GENLOCK_DATABASE_URL": settings.database_url.get_secret_value(),
        "GENLOCK_AMQP_URL": settings.amqp_url.get_secret_value(),
        "GENLOCK_DATABASE_PASSWORD_FILE": settings.database_password_file,
        "GENLOCK_AMQP_PASSWORD_FILE": settings.amqp_password_file,
        "GENLOCK_NAMESPACE": settings.namespace,
        "COLUMNS": COLUMNS,
    }


async def start(settings: Settings, *arguments: str, module: str = "genlock.cli", **variables: str) -> Process:
    """Start a command line without a terminal."""
    variables = environment(settings) | variables
    return await start_module(module, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=variables)


async def start_anew(settings: Settings, *arguments: str, **variables: str) -> Process:
    """Start a command line without a terminal, with variables that the interpreter has to see when it starts."""
    command = (sys.executable, "-m", "genlock.cli", *arguments)
    variables = environment(settings) | variables
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=variables)


async def genlock(settings: Settings, *arguments: str, **variables: str) -> Ran:
    """Run a command line without a terminal, to its end."""
    process = await start(settings, *arguments, **variables)
    try:
        async with asyncio.timeout(DEADLINE_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


async def lines_until(started: Process, action: str) -> list[Json]:
    """Read the log up to the line with this action; every line is an object that says its action and its level."""
    lines: list[Json] = []
    assert started.stderr is not None
    async with asyncio.timeout(DEADLINE_S):
        while not lines or lines[-1]["action"] != action:
            line = await started.stderr.readline()
            assert line, f"it ended after {lines}"
            lines.append(json.loads(line))
            assert {"action", "event", "level", "timestamp"} <= lines[-1].keys()
    return lines


async def ended(started: Process) -> tuple[int, list[Json]]:
    """Wait for the end: the exit code and the rest of the log."""
    async with asyncio.timeout(DEADLINE_S):
        _, errors = await started.communicate()
    assert started.returncode is not None
    return started.returncode, [json.loads(line) for line in errors.splitlines()]


async def on_terminal(settings: Settings, *arguments: str, answer: str = "", question: str = "?") -> tuple[int, str]:
    """Run a command line on a terminal, and answer what it asks; its exit code and all that it wrote."""
    ours, theirs = pty.openpty()
    process = await start_module(
        "genlock.cli", *arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(settings)
    )
    os.close(theirs)
    written = asyncio.create_task(asyncio.to_thread(_read_terminal, ours, answer, question))
    try:
        async with asyncio.timeout(DEADLINE_S):
            text = await written
            return await process.wait(), text
    finally:
        if process.returncode is None:
            process.kill()
        os.close(ours)


def _read_terminal(terminal: int, answer: str, question: str) -> str:
    """Read until the other side is gone; answer once the question is there."""
    written = b""
    while True:
        try:
            data = os.read(terminal, CHUNK_BYTES)
        except OSError:  # How Linux says that no process has the terminal open any more.
            data = b""
        if not data:
            return written.decode()
        written += data
        if answer and question.encode() in written:
            os.write(terminal, f"{answer}\n".encode())
            answer = ""


def without_colours(text: str) -> str:
    """What a terminal shows of a text: the colours that we choose ourselves are no control characters of others."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
