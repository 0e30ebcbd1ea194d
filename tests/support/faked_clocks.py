"""Clocks that a test sets: those of processes of their own, by Debian's `faketime`. Monotonic clocks are left alone."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from genlock.servers import LocalPostgres
from genlock.servers.programs import Programs, program


class FakedClock:
    """The wall clock of processes, which a file tells while they run."""

    def __init__(self, file: Path) -> None:
        program("faketime", "faketime", "tests of wrong clocks need faketime, and it is not here")
        [library] = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
        self._file = file
        self.variables = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.set(0)

    def set(self, ahead_s: int) -> None:
        """Put the clock ahead by so much, or behind if it is less than 0."""
        # At once: a process may read the file at any instant, and must find it whole.
        written = self._file.with_suffix(".new")
        written.write_text(f"{ahead_s:+d}\n")
        written.chmod(0o644)
        written.replace(self._file)


class FakedPostgres(LocalPostgres):
    """A PostgreSQL with a clock of its own."""

    def __init__(self, programs: Programs, options: Sequence[str] = ()) -> None:
        super().__init__(programs, options)
        self.clock = FakedClock(self.folder / "clock")

    def _spawn(
        self, command: Sequence[str | Path], last_signal: signal.Signals, environment: Mapping[str, str | Path]
    ) -> subprocess.Popen[bytes]:
        return super()._spawn(command, last_signal, {**environment, **self.clock.variables})
