"""Files of servers in memory: on a disk half of the time of a test may go into waiting for it."""

import os
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108 - the folder that Linux keeps in memory
ROOM_BYTES = 8 * 2**30
"""The room that it needs; the servers of a run take less than 1 GiB."""


def use() -> None:
    """Put the temporary folders of this process, and of those that it starts, into memory, if there is room.

    The folders of pytest stay on the disk. With TMPDIR set, all stays where that says.
    """
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK | os.X_OK):
        return
    room = os.statvfs(MEMORY)
    if room.f_bavail * room.f_frsize < ROOM_BYTES:
        return
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)
