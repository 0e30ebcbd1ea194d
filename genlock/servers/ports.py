"""Ports of 127.0.0.1 for private servers. A port is reserved until it is given back, even while its server is down.

Many private servers may run on a machine, for example those of several test runs. A free port may belong to a server
that is about to restart.
"""

import secrets
import socket
import sys

# Below the kernel's ephemeral ports: a restarted server finds its port free, and a client that reconnects meanwhile
# never gets the same port at both ends and connects to itself.
_PORTS = range(26000, 32000)

_marks: dict[int, socket.socket] = {}
"""The marks by which other processes see that a port is taken. They end with this process."""


def take_port() -> int:
    """Reserve a port without a listener that no other private server has reserved."""
    while True:
        port = secrets.choice(_PORTS)
        if _mark(port):
            if _is_free(port):
                return port
            give_port_back(port)


def give_port_back(port: int) -> None:
    """Release a port."""
    if port in _marks:
        _marks.pop(port).close()


def _mark(port: int) -> bool:
    """Mark a port by an abstract Unix socket, a name that only one process can hold. Only Linux has them."""
    if sys.platform == "linux":
        mark = socket.socket(socket.AF_UNIX)
        try:
            mark.bind(f"\0genlock-port-{port}")
        except OSError:
            mark.close()
            return False
        _marks[port] = mark
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
