"""A run of the random part: phase after phase of faults, and the oracle after each."""

import asyncio
import re
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from tests.faults.environment import Servers, Stage, all_ready, staged
from tests.faults.histories.checker import Report
from tests.faults.injection import TERMINATE_TIMEOUT_S, inject
from tests.faults.oracle import NotProvedError, Verdicts
from tests.faults.replica import SILENT
from tests.faults.schedule import Planned, schedule
from tests.support.harness import until

READY_TIMEOUT_S = 60.0
"""How long after a fault everything may take to be ready again, the messages that have waited included."""

LIVE_EVERY_S = 0.5
LOG_LINES_MAX = 5_000

LIST_QUEUES = (
    "list_queues",
    "--no-table-headers",
    "name",
    "messages",
    "messages_ready",
    "messages_unacknowledged",
    "consumers",
    "leader",
)


class Run:
    """One run. What it finds out is printed as it goes."""

    def __init__(self, servers: Servers, seed: str, logs: Path, *, lanes: int, keep_logs: bool) -> None:
        self._servers = servers
        self._seed = seed
        self._lanes = lanes
        self._logs = logs
        self._keep_logs = keep_logs
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """One fault at a time for each target."""
        self._begun = 0
        self._faults: Counter[str] = Counter()
        self._verdicts: Verdicts = Counter()
        self._back_s: dict[str, list[float]] = defaultdict(list)
        """For each kind of fault, how long it took until all was ready again and a new command was answered."""
        self._taken_over_s: dict[str, list[float]] = defaultdict(list)
        """For each kind of loss, how long after it a new command was answered, by whatever took over."""

    async def run(self, lengths_s: list[float]) -> bool:
        """Run phases of these lengths; tell whether everything that was promised held."""
        began = time.monotonic()
        where = f"over {self._lanes} lanes" if self._lanes > 1 else "over one inbox"
        where += f" on {len(self._servers.brokers)} nodes" if len(self._servers.brokers) > 1 else ""
        print(f"seed {self._seed}: {sum(lengths_s):.0f} s of faults in {len(lengths_s)} phases, {where}", flush=True)
        try:
            async with staged(self._servers, self._seed, self._lanes, self._logs) as stage:
                watching = asyncio.create_task(self._watch(stage))
                try:
                    for number, length_s in enumerate(lengths_s, 1):
                        await self._phase(stage, number, length_s)
                    await self._stop(stage)
                finally:
                    watching.cancel()
                    with suppress(asyncio.CancelledError):
                        await watching
                    self._summarize(stage)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            print(f"FAILED with seed {self._seed}:\n{_told(error)}", flush=True)
            self._write_logs()
            return False
        if self._keep_logs:
            self._write_logs()
        print(f"Everything held. ({time.monotonic() - began:.0f} s in all, seed {self._seed})", flush=True)
        return True

    async def _phase(self, stage: Stage, number: int, length_s: float) -> None:
        """Let faults come for a while; then wait for quiet and ask the oracle."""
        faults = self._servers.faults
        planned = schedule(f"{self._seed}/{number}", length_s, list(stage.replicas), list(stage.links), faults)
        print(f"phase {number}:", *planned, sep="\n  ", flush=True)
        stage.load.begin()
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for one in planned:
                group.create_task(self._one(stage, one, began))
        faults_s = time.monotonic() - began
        verdicts = await stage.load.proved()
        await self._nothing_unacknowledged(stage)
        self._verdicts += verdicts
        quiet_s = time.monotonic() - began - faults_s
        took = f"{faults_s:.0f} s of faults, {quiet_s:.0f} s until quiet and checked"
        print(f"  held: {verdicts.total()} verdicts ({took})", f"  {stage.load.reports[-1]}", sep="\n", flush=True)

    async def _one(self, stage: Stage, planned: Planned, began: float) -> None:
        """Inject a fault at its time, and see how long it takes until all is well again."""
        await asyncio.sleep(began + planned.at_s - time.monotonic())
        async with self._locks[planned.target]:
            self._begun += 1
            self._faults[f"{planned.fault} ({_class_of(planned.target)})"] += 1
            answered_s = await inject(stage, planned)
        if answered_s is not None:
            self._taken_over_s[planned.fault].append(answered_s)
        begun, undone = self._begun, time.monotonic()
        await all_ready(stage.replicas.values(), stage.http, READY_TIMEOUT_S)
        await stage.load.probe(READY_TIMEOUT_S)
        if begun == self._begun:
            # No other fault has come meanwhile, so this is what this one has cost.
            self._back_s[f"{planned.fault} ({_class_of(planned.target)})"].append(time.monotonic() - undone)

    async def _nothing_unacknowledged(self, stage: Stage) -> None:
        names = {queue.name for queue in stage.load.topology.command_queues}
        left: list[str] = []

        async def none() -> bool:
            listed = await asyncio.to_thread(stage.servers.rabbit.control, *LIST_QUEUES)
            queues = [line.split("\t") for line in listed.splitlines()]
            left[:] = [" ".join(queue) for queue in queues if queue[0] in names and queue[1] != "0"]
            return not left

        try:
            await until(none)
        except TimeoutError as error:
            raise NotProvedError(f"left in the queues ({' '.join(LIST_QUEUES[2:])}): {left}") from error

    async def _stop(self, stage: Stage) -> None:
        """End the replicas in good order. Raises NotProvedError if one has not done so, or has ended before."""
        codes = [await replica.terminate(TERMINATE_TIMEOUT_S) for replica in stage.replicas.values()]
        unasked = [code for replica in stage.replicas.values() for code in replica.ended_by_itself]
        if any(codes) or unasked:
            raise NotProvedError(f"replicas ended with {codes} on SIGTERM, and by themselves with {unasked}")

    async def _watch(self, stage: Stage) -> None:
        """See that no replica says that it is dead: no fault here is a reason to restart one."""
        while True:
            for name, replica in stage.replicas.items():
                complaints = await replica.complaints(stage.http, "livez")
                if complaints not in ([], SILENT):
                    stage.load.journal.oddities.append(f"{name} says that it is dead: {complaints}")
            await asyncio.sleep(LIVE_EVERY_S)

    def _summarize(self, stage: Stage) -> None:
        journal = stage.load.journal
        print(f"confirmed: {journal.total['confirmed']}, copies included; {journal.total['sent in bulk']} sent in bulk")
        for kind in sorted({kind for kind, _ in self._verdicts}):
            counts = Counter({why: count for (of, why), count in self._verdicts.items() if of == kind})
            print(f"{kind}: {', '.join(f'{count} {why}' for why, count in counts.most_common())}")
        for line in _checked(stage.load.reports):
            print(line)
        print(f"events that came again: {journal.total['duplicate events']} of {len(journal.events)}")
        for fault, count in sorted(self._faults.items()):
            back_s = self._back_s.get(fault)
            told = f"ready and answering after at most {max(back_s):.1f} s" if back_s else "always with another one"
            print(f"{count:4} x {fault}: {told}")

        for loss, took_s in sorted(self._taken_over_s.items()):
            print(f"{loss}: a new command was answered after {min(took_s):.1f} to {max(took_s):.1f} s")

    def _write_logs(self) -> None:
        """Write all logs into one file in the current folder."""
        kept = Path(f"faults-{self._seed}.log").resolve()
        with kept.open("w") as all_logs:
            for log in sorted(self._logs.glob("*.log")):
                all_logs.write(f"=== {log.stem}\n{_last_lines(log)}")
            for server in (*self._servers.databases, *self._servers.brokers):
                all_logs.write(f"=== {server.name}\n{_last_lines(server.folder / 'output')}")
        print(f"The logs are in {kept}.", flush=True)


def _class_of(target: str) -> str:
    """What kind of target it is: which replica does not matter to the figures."""
    return re.sub(r" \d", "", target)


def _checked(reports: Sequence[Report]) -> Iterator[str]:
    """The totals of the checked observations of clients."""
    names = ("commands", "queries", "unanswered", "left_out", "took_s")
    commands, queries, unanswered, left_out, took_s = (sum(getattr(one, name) for one in reports) for name in names)
    yield f"linearizable: {commands} commands and {queries} queries, {unanswered} without an answer among them"
    yield f"  in {len(reports)} histories, checked in {took_s:.1f} s; {left_out} queries left out"


def _last_lines(file: Path) -> str:
    return "".join(f"{line}\n" for line in file.read_text(errors="replace").splitlines()[-LOG_LINES_MAX:])


def _told(error: BaseException) -> str:
    """The findings of the oracle as they are, anything else with its traceback."""
    if isinstance(error, BaseExceptionGroup):
        return "\n".join(map(_told, error.exceptions))
    if isinstance(error, NotProvedError):
        return str(error)
    return "".join(traceback.format_exception(error))
