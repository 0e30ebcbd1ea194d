"""A replica whose process dies by SIGKILL whenever it comes to decide the document "deadly"."""

import os
import signal
import sys
from dataclasses import replace
from typing import Any

from genlock.consumers.process.serve import serve
from genlock.schemas.decode import Command
from genlock.service.deciding.state import State
from genlock.service.deciding.verdicts import Decision
from genlock.service.kinds.documents import rules as documents
from genlock.service.kinds.registry import KINDS
from genlock.service.settings import Settings


def deadly(state: State, command: Command, body: Any, decided_at: str) -> Decision:
    if command.subject == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return documents.put(state, command, body, decided_at)


if __name__ == "__main__":
    assert isinstance(KINDS.rules, dict)
    KINDS.rules["document.put"] = replace(KINDS.rules["document.put"], apply=deadly)
    sys.exit(serve(Settings()))
