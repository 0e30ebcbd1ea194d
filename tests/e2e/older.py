"""A replica of an older version: `python -m tests.e2e.older TYPE`, which does not know that type of command."""

import sys

from genlock.consumers import process
from genlock.schemas.catalogue import COMMANDS
from genlock.service.settings import Settings

if __name__ == "__main__":
    del COMMANDS[sys.argv[1]]
    sys.exit(process.main(Settings()))
