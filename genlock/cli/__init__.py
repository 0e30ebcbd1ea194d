"""The command line, `genlock`: the list of its commands, and the handling of their errors."""

import logging
import signal
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated

import typer

from genlock.cli import adopt, contract, dead, held, lanes, messages, process, proof, queries, republish
from genlock.cli.failure import NO_ANSWER, USAGE, Failure, sentence
from genlock.cli.terminal import say, say_uncaught
from genlock.errors import GenlockError, InvalidMessage

TERMINATED = 128 + signal.SIGTERM

app = typer.Typer(
    help="Genlock guards shared records against lost updates: a command says which version of a record its author "
    "saw, and is applied only if the record has not changed since.",
    epilog="Servers are found by GENLOCK_DATABASE_URL and GENLOCK_AMQP_URL; genlock settings shows all variables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

for command in (
    process.serve,
    process.migrate,
    lanes.lanes,
    adopt.adopt,
    process.settings,
    process.demo,
    messages.send,
    messages.get,
    messages.tail,
    queries.query,
    proof.verify,
    republish.republish,
    contract.asyncapi,
):
    app.command(no_args_is_help=command in (messages.send, messages.get, queries.query))(command)
app.add_typer(dead.app, name="dead")
app.add_typer(held.app, name="held")


def _show_version(asked: bool) -> None:
    if not asked:
        return
    try:
        version = metadata.version("genlock")
    except metadata.PackageNotFoundError as error:
        raise Failure(
            "This copy of Genlock has no version, because it is not installed: install it with pip."
        ) from error
    say(f"genlock {version}")
    raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the command."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line, by default that of this process, and exit with its code."""
    # As process 1 of a container, a program without a handler of its own ignores SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    sys.excepthook = say_uncaught
    # Errors of the AMQP library reach the user as one sentence, from the exception.
    for library in ("aio_pika", "aiormq"):
        logging.getLogger(library).addHandler(logging.NullHandler())
    try:
        app(arguments)
    except Failure as error:
        _exit(str(error), error.exit_code)
    except InvalidMessage as error:
        _exit(sentence(error), USAGE)
    except GenlockError as error:
        _exit(sentence(error), NO_ANSWER)


def _exit(text: str, exit_code: int) -> None:
    for line in text.splitlines():
        say(f"genlock: {line}", err=True)
    sys.exit(exit_code)
