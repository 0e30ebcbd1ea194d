"""A replica that dies by its own hand: `python -m tests.e2e.killed STEP COUNT`, at a step, the COUNT-th time there."""

import asyncio
import os
import signal
import sys

from genlock.consumers import logs
from genlock.consumers.process import Service
from genlock.service.deciding.failpoints import Step
from genlock.service.settings import Settings


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


def main(step: str, count: str) -> None:
    settings = Settings()
    logs.configure(settings)
    asyncio.run(Service(settings, Executioner(Step(step), int(count))).run())


if __name__ == "__main__":
    main(*sys.argv[1:])
