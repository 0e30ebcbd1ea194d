"""Where the service is, for programs that do not say so themselves: in the variables that its own processes read."""

import os

from genlock._passwords import naming
from genlock.errors import CannotConnect

NAMESPACE = "genlock"


def broker() -> str:
    """The broker's URL. Raises CannotConnect where none is named: what listens on the usual port may be another one."""
    url = os.environ.get("GENLOCK_AMQP_URL")
    if not url:
        raise CannotConnect("No broker is named: set GENLOCK_AMQP_URL (make run prints how), or pass a URL.")
    return naming(url, os.environ.get("GENLOCK_AMQP_PASSWORD_FILE", ""))


def namespace() -> str:
    """The service's namespace."""
    return os.environ.get("GENLOCK_NAMESPACE") or NAMESPACE
