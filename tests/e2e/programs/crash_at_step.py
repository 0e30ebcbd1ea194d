"""A replica that dies at a step, the COUNT-th time there: `python -m tests.e2e.programs.crash_at_step STEP COUNT`.

With `notes` as a third argument its rule of `document.put` gives notes (tests/support/notes.py).
"""

import asyncio
import os
import signal
import sys

from genlock.consumers.process import logs
from genlock.consumers.process.serve import Service
from genlock.service.deciding.failpoints import Step
from genlock.service.kinds.registry import KINDS
from genlock.service.settings import Settings
from tests.support.notes import WITH_NOTES


class Executioner:
    """Ends the process as a power cut would, once it has been at the step often enough."""

    def __init__(self, step: Step, count: int) -> None:
        self._step = step
        self._left = count

    def __call__(self, reached: Step) -> None:
        if reached is self._step:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def main(step: str, count: str, with_notes: str = "") -> None:
    settings = Settings()
    logs.configure(settings)
    kinds = WITH_NOTES if with_notes else KINDS
    asyncio.run(Service(settings, Executioner(Step(step), int(count)), kinds).run())


if __name__ == "__main__":
    main(*sys.argv[1:])
