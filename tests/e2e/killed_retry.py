"""`genlock`, whose `dead retry` dies when it has published a command and is about to remove its letter."""

import os
import signal

from genlock.cli import main
from genlock.consumers.dead_letters import DeadLetters


async def die(self: DeadLetters, tag: int) -> None:  # noqa: ARG001 - in the place of a method
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    DeadLetters.remove = die  # type: ignore[method-assign]
    main()
