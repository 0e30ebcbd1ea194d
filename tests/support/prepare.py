"""`python -m tests.support.prepare`: what `make test` does first: one process installs packages, and says why not.

Without it many tests would, or would fail, each for itself.
"""

import sys

from genlock import servers
from tests.support.pooler import pgbouncer


def main() -> int:
    """Have the programs of all servers, which may mean that they are installed; return the exit status."""
    servers.unwind_at_signals()
    try:
        servers.prepare()
        pgbouncer()
    except servers.ServersUnavailable as error:
        sys.stderr.write(f"servers: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
