"""Install Debian packages without starting a server, and leave nothing else on the machine.

    python3 -I genlock/servers/packages.py WHY PACKAGE…

scripts/venv runs this file before there is a virtual environment, so it uses only the standard library.
GENLOCK_INSTALL=0 forbids installing.
"""

import ctypes
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

# Debian's packages start a server after the installation unless this program exits with 101.
POLICY = Path("usr/sbin/policy-rc.d")
# PostgreSQL's package also creates a database cluster unless this file disables it.
NO_CLUSTER = Path("etc/postgresql-common/createcluster.d/no-main.conf")

# A file with this line is left by a killed installation; the next installation removes it.
_MARK = "# Written by Genlock while it installs packages, and removed afterwards.\n"

_SHEBANG = "#!/bin/sh\n"

# How long apt waits for another apt to finish, in seconds.
_LOCK_TIMEOUT_S = 300

_POLL_S = 0.1

PATIENCE_S = 5.0
"""How long an interrupted apt-get may take to finish dpkg's work before it is killed, in seconds."""

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CannotInstallError(Exception):
    """The packages are not installed. The text is one sentence with the reason and the remedy."""


def command(packages: Sequence[str]) -> str:
    """The shell command that installs packages."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get update && {sudo}apt-get install --yes --no-install-recommends {shlex.join(packages)}"


def can_install(root: Path = Path("/")) -> bool:
    """Tell whether this is root on a Debian-based machine."""
    return os.geteuid() == 0 and (root / "etc/debian_version").exists() and shutil.which("apt-get") is not None


def install(
    packages: Sequence[str],
    why: str,
    *,
    missing: Callable[[], bool] = lambda: True,
    root: Path = Path("/"),
    patience_s: float = PATIENCE_S,
) -> None:
    """Install packages and say so on stderr, without starting a server or creating a database cluster.

    `missing` is called again after waiting for another installation. Signals that end a process take effect after the
    clean-up. An interrupted apt-get has `patience_s` seconds before it is told again, and as long before it is killed.
    Raises CannotInstallError.
    """
    _require_permission(packages, why, root)
    try:
        with _signals_held() as signals, _alone(root / POLICY.parent, signals):
            if not missing():
                return
            _say(f"Installing {' and '.join(packages)} with apt-get: {why}. GENLOCK_INSTALL=0 prevents this.")
            with (
                _file(root / POLICY, f"{_SHEBANG}{_MARK}exit 101\n", mode=0o755),
                _file(root / NO_CLUSTER, f"{_MARK}create_main_cluster = false\n", mode=0o644),
            ):
                _apt(signals, patience_s, "update")
                _apt(signals, patience_s, "install", "--yes", "--no-install-recommends", *packages)
    except OSError as error:
        raise CannotInstallError(f"Installing {' and '.join(packages)} failed: {error}.") from error


def _require_permission(packages: Sequence[str], why: str, root: Path) -> None:
    forbidden = {"": False, "1": False, "0": True}.get(os.environ.get("GENLOCK_INSTALL", ""))
    if forbidden is None:
        raise CannotInstallError(f"GENLOCK_INSTALL is {os.environ['GENLOCK_INSTALL']!r}, but may be 0 or 1.")
    if forbidden:
        raise CannotInstallError(f"GENLOCK_INSTALL=0 forbids installing, but {why}: run `{command(packages)}`.")
    if not can_install(root):
        raise CannotInstallError(f"Only root can install on Debian, but {why}: run `{command(packages)}`.")


class _Signals:
    """Notes the first signal that would end this process."""

    def __init__(self) -> None:
        self.number: int | None = None

    def note(self, number: int, _frame: object) -> None:
        """Handle a signal."""
        if self.number is None:
            self.number = number

    def check(self) -> None:
        """Raise CannotInstallError once there was a signal."""
        if self.number is not None:
            raise CannotInstallError(f"Installing was interrupted by {signal.Signals(self.number).name}.")


@contextmanager
def _signals_held() -> Iterator[_Signals]:
    """Defer signals while the context lasts: a second Ctrl-C must not interrupt the clean-up after the first."""
    signals = _Signals()
    before: dict[signal.Signals, Any] = {}
    try:
        # Only the main thread can set handlers, and only it is interrupted.
        if threading.current_thread() is threading.main_thread():
            for number in _ENDING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    before[number] = signal.signal(number, signals.note)
        yield signals
    finally:
        for held, handler in before.items():
            signal.signal(held, handler)
        if signals.number is not None:
            signal.raise_signal(signals.number)


@contextmanager
def _alone(folder: Path, signals: _Signals) -> Iterator[None]:
    """Wait until no other process installs: the first to end would remove files that the second relies on.

    The lock is on a folder, so it leaves no file. It ends with this process.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        waiting = False
        while not _lock(descriptor):
            if not waiting:
                _say("Another run installs packages; waiting for it.")
            waiting = True
            signals.check()
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _file(path: Path, text: str, *, mode: int) -> Iterator[None]:
    """Create a file and its folders while the context lasts. A file of another owner is left unchanged."""
    with ExitStack() as stack:
        for folder in reversed(path.parents):
            if not folder.exists():
                folder.mkdir()
                stack.callback(_remove_if_empty, folder)
        if _is_ours(path):
            path.unlink()
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            yield
            return
        stack.callback(path.unlink, missing_ok=True)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)
            file.write(text)
        yield


def _is_ours(path: Path) -> bool:
    try:
        return path.read_text(encoding="utf-8").removeprefix(_SHEBANG).startswith(_MARK)
    except (OSError, UnicodeDecodeError):
        return False


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _apt(signals: _Signals, patience_s: float, *arguments: str) -> None:
    """Run apt-get to its end. Raises OSError with its last output, and CannotInstallError after a signal."""
    signals.check()
    words = ["apt-get", "--quiet", "--option", f"DPkg::Lock::Timeout={_LOCK_TIMEOUT_S}", *arguments]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603 - a fixed command and the names of packages, no shell
            words,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C then reaches apt-get only through this process, and dpkg not at all.
            start_new_session=True,
        )
        try:
            while process.poll() is None and signals.number is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_S)
        finally:
            _end(process, patience_s)
        signals.check()
        if process.returncode != 0:
            output.seek(0)
            said = " ".join(output.read().decode(errors="replace").splitlines()[-3:])
            raise OSError(f"`{' '.join(words)}` ended with {process.returncode}: {said}")


def _end(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """End apt-get and its children. Does nothing if it has ended."""
    if process.poll() is not None:
        return
    # apt-get ends at once, or after dpkg if that is running.
    process.send_signal(signal.SIGINT)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
    process.wait()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main(why: str, *packages: str) -> int:
    """Install packages, or print the reason in one sentence. Returns the exit status."""
    if sys.platform == "linux":
        # SIGTERM to make ends the script that started this program, and does not reach this program.
        ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))  # 1 is PR_SET_PDEATHSIG
    try:
        install(packages, why)
    except CannotInstallError as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
