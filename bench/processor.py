"""Processor time of processes with all their children, as Linux counts it.

On a shared machine the processor time of a command is more reliable than its elapsed time.
"""

import gc
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from genlock import servers

_TICKS = os.sysconf("SC_CLK_TCK")
_PROGRAMS = {"PostgreSQL": "postgres", "RabbitMQ": "beam.smp"}


@dataclass(frozen=True, slots=True)
class _Process:
    name: str
    parent: int
    seconds: float
    """The processor time of the process and of its ended children, in seconds."""


@contextmanager
def no_collection() -> Iterator[None]:
    """Disable the garbage collector while the context lasts: a benchmark holds very many objects."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def server_groups(running: servers.Servers) -> dict[str, list[int]]:
    """The process ids of PostgreSQL and RabbitMQ if they are children of this process; otherwise empty."""
    if running.how != "local":
        return {}
    ours = {process.name: pid for pid, process in _processes().items() if process.parent == os.getpid()}
    return {server: [ours[program]] for server, program in _PROGRAMS.items() if program in ours}


def seconds(roots: Mapping[str, Iterable[int]]) -> dict[str, float]:
    """The processor time so far of each group of processes with their children, in seconds."""
    processes = _processes()
    return {name: sum(_tree(processes, pid) for pid in pids) for name, pids in roots.items()}


def resident_bytes(pid: int) -> int:
    """The resident memory of a process and its children, in bytes."""
    processes = _processes()
    return sum(_resident(member) for member in _members(processes, pid))


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _members(processes: Mapping[int, _Process], root: int) -> list[int]:
    members = [root]
    for member in members:
        members += [pid for pid, process in processes.items() if process.parent == member]
    return members


def _tree(processes: Mapping[int, _Process], root: int) -> float:
    return sum(processes[pid].seconds for pid in _members(processes, root) if pid in processes)


def _processes() -> dict[int, _Process]:
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "stat").read_text()
        except OSError:
            continue  # The process has ended meanwhile.
        # The name is in parentheses, and may itself contain a closing one.
        head, _, tail = text.rpartition(")")
        words = tail.split()
        used = sum(map(int, words[11:15])) / _TICKS
        found[int(folder.name)] = _Process(head.partition("(")[2], int(words[1]), used)
    return found
