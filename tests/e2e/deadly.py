"""A replica whose process dies by SIGKILL whenever it comes to decide the document "deadly"."""

import os
import signal
import sys
from typing import Any

from genlock.consumers import process
from genlock.schemas.decode import Command
from genlock.service import documents, fold
from genlock.service.settings import Settings
from genlock.service.state import State
from genlock.service.verdicts import Decision


def deadly(state: State, command: Command, data: Any, decided_at: str) -> Decision:
    if command.subject == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return documents.put(state, command, data, decided_at)


if __name__ == "__main__":
    assert isinstance(fold.RULES, dict)
    fold.RULES["document.put"] = deadly
    sys.exit(process.main(Settings()))
