"""What the command line writes: nothing that a terminal would obey, wherever the text comes from."""

import sys
import traceback
from types import TracebackType

import typer

from genlock.schemas.printable import escaped_json


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Write lines of text for a person, on stdout or stderr."""
    typer.echo("\n".join(map(plain, text.split("\n"))), err=err, nl=nl)


def say_json(text: str) -> None:
    """Write a JSON text on stdout. It says the same, with control characters escaped."""
    typer.echo(escaped_json(text))


def plain(text: str) -> str:
    """Replace control characters, for example in an untrusted subject or source."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def say_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write the traceback of an exception that ends the program, as an exception hook."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        say("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"), err=True)
