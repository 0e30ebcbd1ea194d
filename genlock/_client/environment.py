"""The defaults of `connect()`: the broker and the namespace from the service's own environment variables."""

import os

from genlock._net.broker_urls import KIND
from genlock._net.urls import InvalidUrl, with_password_file
from genlock.errors import CannotConnect

NAMESPACE = "genlock"


def broker() -> str:
    """The broker's URL. Raises CannotConnect if it is missing or invalid.

    There is no default, because another broker may listen on the usual port.
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
