"""A replica with the settings of its variables: `python -m tests.e2e.programs.serve`."""

import sys

from genlock.consumers.process.serve import serve
from genlock.service.settings import Settings

sys.exit(serve(Settings()))
