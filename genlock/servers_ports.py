"""Ports of 127.0.0.1 for private servers: each is one server's until it is given back, also while that one is down.

Many private servers may run on a machine at once, those of several test runs among them. A port that is merely free may
be that of a server that will be started again in a moment.
"""

import secrets
import socket
import sys

# Below the ports that the kernel gives to outgoing connections, so that a server that is started again finds its port
# free, and a client that reconnects meanwhile never gets its own port as the far end and talks to itself.
_PORTS = range(26000, 32000)

_marks: dict[int, socket.socket] = {}
"""What tells other processes that a port is taken; it is gone with this process."""


def take_port() -> int:
    """Take a port that nobody listens on, and that no other private server has."""
    while True:
        port = secrets.choice(_PORTS)
        if _mark(port):
            if _is_free(port):
                return port
            give_port_back(port)


def give_port_back(port: int) -> None:
    """Leave a port to others."""
    if port in _marks:
        _marks.pop(port).close()


def _mark(port: int) -> bool:
    """Claim a port under a name that only one process can have, which is nothing in any folder; only Linux has such."""
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
