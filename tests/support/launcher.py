"""Stands for a program that another process forks (forked.py): `launcher.py NAME MODULE ARGUMENT…`.

It imports little, because it is started very often.
"""

import json
import os
import signal
import socket
import sys

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def address(name: str) -> str:
    """An abstract socket, which leaves no file behind."""
    return f"\0{name}"


def main(name: str, module: str, *arguments: str) -> None:
    """Have a module run with the files and the variables of this process, and end as it does."""
    folder = os.getcwd()  # noqa: PTH109 - pathlib takes time to import
    request = {"module": module, "arguments": arguments, "environment": dict(os.environ), "folder": folder}
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(address(name))
        for number in PASSED_ON:
            signal.signal(number, lambda number, _frame: asking.send(bytes([number])))
        socket.send_fds(asking, [json.dumps(request).encode()], [0, 1, 2])
        # Whoever waits for the end of its output waits for the program alone.
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        code = int(asking.recv(16) or 1)
    if code < 0:
        if -code in PASSED_ON:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
