"""Failures of the command line: one sentence and an exit code, never a stack trace."""

import os
from typing import Any

from pydantic import ValidationError

from genlock.cli.output import told
from genlock.cli.terminal import say
from genlock.errors import GenlockError, NoService, QueryFailed, Unanswered
from genlock.service.environment import unknown_variables
from genlock.service.settings import Settings

NO_ANSWER, USAGE = 1, 2


class Failure(Exception):  # noqa: N818 - it is the end of a program, not an error in it
    """Ends the program with an exit code. Its text is a sentence for a person."""

    def __init__(self, message: str, exit_code: int = NO_ANSWER) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def sentence(error: GenlockError) -> str:
    """Describe an error, and the remedy if it is unknown whether a command was applied."""
    if isinstance(error, NoService) and error.command_id:
        return f"{error} Its id is {error.command_id}."
    if isinstance(error, Unanswered) and error.command_id:
        return f"{error} It may be applied all the same; to find out, send it again under its id, {error.command_id}."
    if isinstance(error, QueryFailed):
        return " ".join([str(error), *told(error.message, error.errors)])
    return str(error)


def say_if_default(settings: Settings, field: str, place: str) -> None:
    """Say which default server is used, so that reaching the wrong one does not go unnoticed."""
    if field not in settings.model_fields_set:
        variable = f"{Settings.model_config['env_prefix']}{field}".upper()
        say(f"genlock: {variable} is not set; asking {place}.", err=True)


def warn_of_unknown_variables() -> None:
    """Warn on stderr of unknown variables with the settings' prefix."""
    for warning in unknown_variables(os.environ):
        say(f"genlock: {warning}", err=True)


def load_settings(*, warn: bool = True, **overrides: Any) -> Settings:
    """Read the settings; arguments other than None have precedence. Raises Failure.

    The service warns of unknown variables in its log instead.
    """
    if warn:
        warn_of_unknown_variables()
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        # Only the first error, and never the value, which may be a secret.
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0])
        variable = f"{Settings.model_config['env_prefix']}{name}".upper()
        given = overrides.get(name) is not None
        what = f"option --{name.replace('_', '-')} ({variable})" if given else f"setting {variable}"
        raise Failure(
            f"The {what} is not valid: {first['msg'].removeprefix('Value error, ')}.", USAGE if given else NO_ANSWER
        ) from error
