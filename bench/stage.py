"""What the parts of a run share: the servers, how much is measured, and preloads that are made once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from bench.contest import DRAIN_MAX_S, Drained, drain
from bench.contestants import Contestant
from bench.figures import Round
from bench.running import say
from bench.workloads import Preload, Workload
from genlock import servers

T = TypeVar("T")


@dataclass(slots=True)
class Stage:
    """The servers, and how many commands a full drain has. `so_far` are the figures of the present round."""

    running: servers.Servers
    commands: int
    so_far: Round = field(default_factory=dict)
    _kept: dict[str, object] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` makes, made at the first call under this name; later rounds get the same."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]  # type: ignore[return-value]  # each name stands for one kind of thing

    def preload(self, workload: Workload, contestant: Contestant, commands: int) -> Preload:
        """The commands of a workload, the same bytes in every round, as the contestant takes them.

        Each drain has a database of its own, so that ids may come again.
        """
        name = f"{workload.name} {commands}"
        made = self.once(name, lambda: workload.make(commands))
        wrapped = f"{name} {contestant.wrap.__name__}"
        return self.once(wrapped, lambda: replace(made, messages=[contestant.wrap(one) for one in made.messages]))

    async def drain(
        self, contestant: Contestant, workload: Workload, commands: int | None = None, max_s: float = DRAIN_MAX_S
    ) -> Drained:
        """Drain once."""
        preload = self.preload(workload, contestant, commands or self.commands)
        return await drain(self.running, contestant, preload, max_s)

    def note(self, name: str, value: float, shown: str) -> None:
        """Keep a figure of this round, and say it."""
        self.so_far[name] = value
        say(f"  {name}: {shown}")

    def note_processor(self, name: str, seconds: Mapping[str, float], commands: int) -> None:
        """Keep the processor time of each command, in microseconds, by process."""
        for process, used in seconds.items():
            self.so_far[f"{name}, processor of {process}"] = used / max(commands, 1) * 1e6
