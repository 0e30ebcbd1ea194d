"""`python -m genlock.servers` runs a command against PostgreSQL and RabbitMQ."""

import shutil
import signal
import sys
from collections.abc import Sequence

from genlock.servers.choice import running
from genlock.servers.databases import database
from genlock.servers.found import Servers, say
from genlock.servers.programs import ServersUnavailable
from genlock.servers.signals import run_to_end, start, unwind_at_signals


async def _run(command: Sequence[str], servers: Servers) -> int:
    """Run a command with a database of its own and return its exit status."""
    async with database(servers.database_url) as url:
        child = await start(command, {"GENLOCK_DATABASE_URL": url, "GENLOCK_AMQP_URL": servers.amqp_url})
        return await child.wait()


def main(command: Sequence[str]) -> int:
    """Run a command against servers and return its exit status as a shell reports it."""
    if not command or shutil.which(command[0]) is None:
        sys.stderr.write("usage: python -m genlock.servers COMMAND [ARG…]\n")
        return 2
    unwind_at_signals()
    try:
        with running() as servers:
            status = run_to_end(_run(command, servers))
    except ServersUnavailable as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
