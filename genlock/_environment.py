"""Where the service is, for programs that do not say so themselves: in the variables that its own processes read."""

import os

from genlock._broker_urls import KIND
from genlock._urls import InvalidUrl, with_password_file
from genlock.errors import CannotConnect

NAMESPACE = "genlock"


def broker() -> str:
    """The broker's URL. Raises CannotConnect where none is named, or what is no URL of a broker.

    There is no default, for what listens on the usual port may be another broker.
    """
    url = os.environ.get("GENLOCK_AMQP_URL")
    if not url:
        raise CannotConnect("No broker is named: set GENLOCK_AMQP_URL (make run prints how), or pass a URL.")
    try:
        return with_password_file(url, os.environ.get("GENLOCK_AMQP_PASSWORD_FILE", ""), KIND)
    except InvalidUrl as error:
        raise CannotConnect(f"The setting GENLOCK_AMQP_URL is not valid: {error}.", lasting=True) from None


def namespace() -> str:
    """The service's namespace."""
    return os.environ.get("GENLOCK_NAMESPACE") or NAMESPACE
