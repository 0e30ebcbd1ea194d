"""A replica that does not know one type of command: `python -m tests.e2e.programs.previous_version TYPE`."""

import sys

from genlock.consumers.process.serve import serve
from genlock.schemas.catalogue import COMMANDS
from genlock.service.settings import Settings

if __name__ == "__main__":
    del COMMANDS[sys.argv[1]]
    sys.exit(serve(Settings()))
