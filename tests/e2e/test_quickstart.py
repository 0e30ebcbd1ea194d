"""The quick start: what `make run` prints is pasted into a fresh terminal, and there runs all that the README shows."""

import asyncio
import json
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika
import asyncpg
import pytest

from genlock.schemas.outcomes import Conflict, outcome_id, parse_outcome
from genlock.servers import Servers
from tests.support.factories import Json
from tests.support.harness import DEADLINE_S
from tests.support.paths import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

# Other servers may have to be started, on a machine that has other things to do.
START_TIMEOUT_S = 100

pytestmark = pytest.mark.timeout(180)


def blocks(language: str, *, having: str = "", lacking: str = "\0") -> list[str]:
    return [text for found, text in BLOCKS if found == language and having in text and lacking not in text]


@dataclass(frozen=True)
class Terminal:
    """Another terminal, into which the lines were pasted that `make run` had printed."""

    printed: list[str]

    @property
    def exports(self) -> list[str]:
        return [line for line in self.printed if line.startswith("export ")]

    @property
    def variables(self) -> dict[str, str]:
        names = [line.split()[1].partition("=")[0] for line in self.exports]
        shown = self.run("\n".join(f'printf "%s\\n" "${name}"' for name in names)).splitlines()
        return dict(zip(names, shown, strict=True))

    @property
    def first_command(self) -> str:
        (command,) = [line for line in self.printed if "genlock send " in line]
        return command

    @property
    def health(self) -> str:
        (line,) = [line for line in self.printed if line.startswith("Health: ")]
        return line.removeprefix("Health: ")

    def start(self, script: str, **variables: str) -> "subprocess.Popen[str]":
        """Paste, and go on with a script that ends at its first error, in a shell that knows nothing else."""
        path = os.pathsep.join(
            folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder) != REPOSITORY / ".venv/bin"
        )
        return subprocess.Popen(  # noqa: S603 - the repository's own words
            ["/bin/sh", "-ec", "\n".join([*self.exports, script])],
            cwd=REPOSITORY,
            env={"PATH": path, "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8", **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    def run(self, script: str, given: str = "", **variables: str) -> str:
        """Run a script to its end, which has to be a good one; what it prints."""
        with self.start(script, **variables) as shell:
            try:
                output, errors = shell.communicate(given, timeout=DEADLINE_S)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(shell.pid, signal.SIGKILL)
        assert shell.returncode == 0, f"{output}\n{errors}"
        return output


@contextmanager
def make_run(**variables: str) -> Iterator[Terminal]:
    """`make run`, until Ctrl-C: which ends it well, and leaves nothing in the folder for temporary files."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    process = subprocess.Popen(
        ["make", "--no-print-directory", "run"],  # noqa: S607 - as a user types it
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(place), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield Terminal(read_until_ready(process))
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=DEADLINE_S)
        # What make itself says of an interrupt is all that comes after the block.
        assert [line for line in said.decode().splitlines() if not line.startswith("make: ")] == []
        assert not list(place.iterdir())
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        shutil.rmtree(place)


def read_until_ready(process: "subprocess.Popen[bytes]") -> list[str]:
    """The lines of output up to the last one that is printed once the service is ready."""
    assert process.stdout is not None
    text = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not re.search(rb"^Health: .*\n", text, re.MULTILINE):
            assert selector.select(START_TIMEOUT_S), f"it is silent after {text.decode()}"
            read = os.read(process.stdout.fileno(), 2**16)
            assert read, f"it ended after {text.decode()}"
            text += read
    return text.decode().splitlines()


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    """A terminal beside `make run` in the environment of the tests, where the usual port of HTTP is taken."""
    with socket.socket() as other:
        # Or it is taken by something else.
        with suppress(OSError):
            other.bind(("127.0.0.1", 8080))
            other.listen()
        with make_run(GENLOCK_HTTP_PORT="8080") as terminal:
            yield terminal


def test_make_run_ends_with_what_to_paste(terminal: Terminal) -> None:
    (blank, *block) = terminal.printed[-len(terminal.exports) - 9 :]
    assert blank == ""
    assert block[0].startswith("Genlock is ready")
    assert block[-1] == f"Health: {terminal.health}"
    assert {*terminal.exports, terminal.first_command} < set(block)
    assert list(terminal.variables)[:2] == ["GENLOCK_AMQP_URL", "GENLOCK_DATABASE_URL"]
    with urllib.request.urlopen(terminal.health, timeout=DEADLINE_S) as answer:  # noqa: S310 - the URL that was printed
        assert answer.status == 200
    assert not terminal.health.startswith("http://127.0.0.1:8080/")


def test_first_command_runs_as_it_was_printed(terminal: Terminal) -> None:
    assert terminal.first_command.startswith(".venv/bin/genlock send ")
    assert "document.put.succeeded" in terminal.run(terminal.first_command)


def test_every_block_of_the_readme_is_tried() -> None:
    """By the tests below, each of which takes the blocks of a kind."""
    commands, outcomes = blocks("json", lacking="causationid"), blocks("json", having="causationid")
    shells = (
        blocks("sh", having=".venv/bin/genlock send"),
        blocks("sh", having="genlock serve"),
        blocks("sh", having="make "),
    )
    tried = [*commands, *outcomes, *blocks("python"), *(text for found in shells for text in found)]
    assert sorted(tried) == sorted(text for _, text in BLOCKS)
    assert all((commands, outcomes, *shells, blocks("python")))


def test_commands_of_the_readme_run(terminal: Terminal) -> None:
    for block in blocks("sh", having=".venv/bin/genlock send"):
        printed = terminal.run(block)
        assert "document.put.conflict" in printed
        assert "refused, exit code 3" in printed
        assert '"team-b"' in printed.splitlines()[-1]


@pytest.mark.parametrize("block", blocks("python"))
def test_python_of_the_readme_runs(terminal: Terminal, block: str) -> None:
    assert "stored as generation=" in terminal.run(".venv/bin/python -W error -", block)


def test_service_of_the_readme_runs(terminal: Terminal) -> None:
    (block,) = blocks("sh", having="genlock serve")
    # The only difference to the page: the usual port may be taken where this test runs.
    with terminal.start(block, GENLOCK_HTTP_PORT="0") as shell:
        assert shell.stdout is not None
        assert shell.stderr is not None
        try:
            assert shell.stdout.readline() == "The schema is up to date.\n"
            while json.loads(line := shell.stderr.readline())["action"] != "ready":
                assert line
            os.killpg(shell.pid, signal.SIGTERM)
            _, errors = shell.communicate(timeout=DEADLINE_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    assert json.loads(errors.splitlines()[-1])["action"] == "stop"


def test_make_of_the_readme_runs(terminal: Terminal) -> None:
    (block,) = blocks("sh", having="make ")
    demo, test = block.splitlines()
    assert terminal.run(demo).rstrip().endswith("Everything is as claimed.")
    # This is what runs at this moment.
    assert "pytest" in terminal.run(f"MAKEFLAGS=n {test}")


@asynccontextmanager
async def channel(variables: Mapping[str, str]) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    async with await aio_pika.connect(variables["GENLOCK_AMQP_URL"]) as connection:
        yield await connection.channel()


@pytest.mark.parametrize("block", blocks("json", lacking="causationid"))
async def test_command_of_the_readme_is_decided_byte_for_byte(terminal: Terminal, block: str) -> None:
    variables = terminal.variables
    command: Json = json.loads(block)
    async with channel(variables) as publishing:
        answers = await publishing.declare_queue(exclusive=True)
        exchange = f"{variables.get('GENLOCK_NAMESPACE', 'genlock')}.commands"
        commands = await publishing.get_exchange(exchange, ensure=False)
        await commands.publish(aio_pika.Message(block.encode(), reply_to=answers.name), command["type"])
        async with asyncio.timeout(DEADLINE_S), answers.iterator(no_ack=True) as replies:
            outcome = parse_outcome((await anext(replies)).body)
    assert isinstance(outcome, Conflict)
    assert outcome.command_id == command["id"]
    # From a shell it is the same command again, and has the same answer.
    sent = terminal.run(".venv/bin/genlock send - || test $? = 3", block)
    assert json.loads(sent)["id"] == outcome_id(command["id"])


@pytest.mark.parametrize("block", blocks("json", having="causationid"))
def test_outcome_of_the_readme_is_one(block: str) -> None:
    outcome = parse_outcome(block)
    assert isinstance(outcome, Conflict)
    assert json.loads(block)["id"] == outcome_id(outcome.command_id)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_runs_as_it_stands(terminal: Terminal, example: Path) -> None:
    assert terminal.run(f".venv/bin/python -W error {example.relative_to(REPOSITORY)}")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_without_a_broker_says_what_to_set(example: Path) -> None:
    # No example may reach whatever listens on the usual port.
    with Terminal([]).start(f".venv/bin/python {example.relative_to(REPOSITORY)}") as shell:
        _, errors = shell.communicate(timeout=DEADLINE_S)
    assert shell.returncode == 1
    assert re.search("[Ss]et GENLOCK_AMQP_URL", errors.splitlines()[-1])


async def test_given_servers_get_a_namespace_which_is_told_and_removed(servers: Servers) -> None:
    """A service that uses the default one there would share its commands with a database that is not its own."""
    given = {
        "GENLOCK_SERVERS": "given",
        "GENLOCK_DATABASE_URL": servers.database_url,
        "GENLOCK_AMQP_URL": servers.amqp_url,
        "GENLOCK_NAMESPACE": "genlock",
        "GENLOCK_LANES": "2",
    }
    with make_run(**given) as terminal:
        variables = terminal.variables
        namespace = variables["GENLOCK_NAMESPACE"]
        assert namespace != "genlock"
        assert variables["GENLOCK_LANES"] == "2"
        assert "document.put.succeeded" in await asyncio.to_thread(terminal.run, terminal.first_command)
        async with channel(variables) as probe:
            await probe.declare_queue(f"{namespace}.lane.1.of.2", passive=True)
    for name in (f"{namespace}.lane.1.of.2", f"{namespace}.inbox"):
        async with channel(variables) as probe:
            with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
                await probe.declare_queue(name, passive=True)
    connection = await asyncpg.connect(servers.database_url)
    names = {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
    await connection.close()
    assert urlsplit(variables["GENLOCK_DATABASE_URL"]).path.removeprefix("/") not in names
