"""A replica whose process dies by SIGKILL whenever it comes to decide the document "deadly"."""

import os
import signal
import sys
from dataclasses import replace
from typing import Any

from genlock.consumers import process
from genlock.schemas.decode import Command
from genlock.service import documents
from genlock.service.rules import RULES
from genlock.service.settings import Settings
from genlock.service.state import State
from genlock.service.verdicts import Decision


def deadly(state: State, command: Command, body: Any, decided_at: str) -> Decision:
    if command.subject == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return documents.put(state, command, body, decided_at)


if __name__ == "__main__":
    assert isinstance(RULES, dict)
    RULES["document.put"] = replace(RULES["document.put"], apply=deadly)
    sys.exit(process.main(Settings()))
