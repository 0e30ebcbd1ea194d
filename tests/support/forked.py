"""Programs in processes of their own that need not import the product first, which takes most of a short one's time.

One process for each process of tests has imported it, and forks for each program. What the tests see in its place is a
launcher (launcher.py), whose files, variables and signals are the program's, and which ends as it does.
"""

import asyncio
import atexit
import contextlib
import importlib
import json
import os
import runpy
import secrets
import select
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from tests.support import launcher

IMPORTED = ("genlock.cli", "genlock.consumers.process.serve")

READY = b"ready\n"
REQUEST_BYTES_MAX = 2**20


async def start_module(module: str, *arguments: str, env: Mapping[str, str] | None = None, **files: Any) -> Process:
    """Start a module as `python -m` does, with the variables and files that a subprocess is given.

    The process has an id of its own: what is killed by it ends, but cannot be stopped or looked at.
    """
    command = (sys.executable, "-I", "-S", str(Path(launcher.__file__)), _forking(), module, *arguments)
    return await asyncio.create_subprocess_exec(*command, env=env, **files)


@cache
def _forking() -> str:
    """The name of the process that forks, which ends with this one."""
    name = f"genlock-{secrets.token_hex(8)}"
    command = (sys.executable, "-m", "tests.support.forked", name)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own program
    assert process.stdout is not None
    assert process.stdout.readline() == READY
    atexit.register(process.communicate)
    return name


def _serve(name: str) -> None:
    for module in IMPORTED:
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(launcher.address(name))
        listening.listen()
        os.write(sys.stdout.fileno(), READY)
        while listening.fileno() in select.select([listening.fileno(), sys.stdin.fileno()], [], [])[0]:
            asking, _ = listening.accept()
            if not os.fork():
                listening.close()
                _answer(asking)
            asking.close()


def _answer(asking: socket.socket) -> NoReturn:
    """Run a program in a child of this process, pass signals on, and tell its exit code. Kill it if the asker ends."""
    request, descriptors, _, _ = socket.recv_fds(asking, REQUEST_BYTES_MAX, 3)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if not child:
        asking.close()
        for place, descriptor in enumerate(descriptors):
            os.dup2(descriptor, place)
            os.close(descriptor)
        _become(**json.loads(request))
    for descriptor in descriptors:
        os.close(descriptor)
    running = os.pidfd_open(child)
    while asking.fileno() in select.select([running, asking.fileno()], [], [])[0]:
        numbers = asking.recv(16)
        with contextlib.suppress(ProcessLookupError):
            for number in numbers or [signal.SIGKILL]:
                signal.pidfd_send_signal(running, number)
        if not numbers:
            break
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        asking.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(module: str, arguments: Sequence[str], environment: Mapping[str, str], folder: str) -> NoReturn:
    """Run a module as `python -m` does, and end."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    code = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:  # noqa: BLE001 - as the interpreter does
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
