"""The context that the sections of a run share: the servers, the amount of work, and preloads made once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from bench.drain_run import DRAIN_MAX_S, Drained, drain
from bench.figures import Round
from bench.running import say
from bench.systems import System
from bench.workloads import Preload, Workload
from genlock import servers

T = TypeVar("T")


@dataclass(slots=True)
class Run:
    """The servers, and the number of commands in a full drain. `so_far` has the figures of the current round."""

    running: servers.Servers
    commands: int
    so_far: Round = field(default_factory=dict)
    _kept: dict[str, object] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """The value of `make`, called once for each name; later rounds get the same value."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]  # type: ignore[return-value]  # each name has one type of value

    def preload(self, workload: Workload, system: System, commands: int) -> Preload:
        """The commands of a workload, the same bytes in every round, as the system takes them.

        Ids may repeat, because each drain has a database of its own.
        """
        name = f"{workload.name} {commands}"
        made = self.once(name, lambda: workload.make(commands))
        wrapped = f"{name} {system.wrap.__name__}"
        return self.once(wrapped, lambda: replace(made, messages=[system.wrap(one) for one in made.messages]))

    async def drain(
        self, system: System, workload: Workload, commands: int | None = None, max_s: float = DRAIN_MAX_S
    ) -> Drained:
        """Drain once."""
        preload = self.preload(workload, system, commands or self.commands)
        return await drain(self.running, system, preload, max_s)

    def note(self, name: str, value: float, shown: str) -> None:
        """Keep a figure of this round, and print it."""
        self.so_far[name] = value
        say(f"  {name}: {shown}")

    def note_processor(self, name: str, seconds: Mapping[str, float], commands: int) -> None:
        """Keep the processor time of a command, in microseconds, by process."""
        for process, used in seconds.items():
            self.so_far[f"{name}, processor of {process}"] = used / max(commands, 1) * 1e6
