"""How a command of the command line fails: with one sentence and an exit code, never with a stack trace."""

import os
from typing import Any

import typer
from pydantic import ValidationError

from genlock.errors import GenlockError, NoService, Unanswered
from genlock.service.environment import unknown_variables
from genlock.service.settings import Settings

NO_ANSWER, USAGE = 1, 2


class Failure(Exception):  # noqa: N818 - it is how a program ends, whoever made the error
    """Ends the program. Its text is a sentence for a person."""

    def __init__(self, message: str, exit_code: int = NO_ANSWER) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def sentence(error: GenlockError) -> str:
    """Say what went wrong, and what to do about a command of which nobody knows whether it was applied."""
    if isinstance(error, NoService) and error.command_id:
        return f"{error} Its id is {error.command_id}."
    if isinstance(error, Unanswered) and error.command_id:
        return f"{error} It may be applied all the same; to find out, send it again under its id, {error.command_id}."
    return str(error)


def say_if_default(settings: Settings, field: str, place: str) -> None:
    """Say that no server was named, so that a command that reaches some other one by accident does not go unseen."""
    if field not in settings.model_fields_set:
        variable = f"{Settings.model_config['env_prefix']}{field}".upper()
        typer.echo(f"genlock: {variable} is not set; asking {place}.", err=True)


def warn_of_unknown_variables() -> None:
    """Tell on stderr which variables look like settings and are none."""
    for warning in unknown_variables(os.environ):
        typer.echo(f"genlock: {warning}", err=True)


def load_settings(*, warn: bool = True, **overrides: Any) -> Settings:
    """Read the settings; those that are given and not None come first. Raises Failure.

    Who logs warns of unknown variables in the log instead.
    """
    if warn:
        warn_of_unknown_variables()
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        # Only the first, and never its value, which may be a secret.
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0])
        variable = f"{Settings.model_config['env_prefix']}{name}".upper()
        given = overrides.get(name) is not None
        what = f"option --{name.replace('_', '-')} ({variable})" if given else f"setting {variable}"
        raise Failure(
            f"The {what} is not valid: {first['msg'].removeprefix('Value error, ')}.", USAGE if given else NO_ANSWER
        ) from error
