"""`genlock`, whose `dead retry` dies when it has published a command and is about to remove its dead letter."""

import os
import signal

from genlock.cli import main
from genlock.consumers.operations.dead_letter_queue import DeadLetterQueue


async def die(self: DeadLetterQueue, tag: int) -> None:  # noqa: ARG001 - in the place of a method
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    DeadLetterQueue.remove = die  # type: ignore[method-assign]
    main()
