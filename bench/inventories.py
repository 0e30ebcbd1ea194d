"""Section three: replacing the inventories of providers, compared with OpenStack Placement on the same PostgreSQL."""

from bench.figures import Figures, Line, Target
from bench.peers.placement import PROCESSES, replace_inventories
from bench.run import Run
from bench.systems import GENLOCK, with_workers
from bench.workloads import INVENTORIES

PLACEMENT_S = 5.0
"""How long Placement's clients run."""

AS_MANY = with_workers(PROCESSES)
"""Genlock with as many processes as Placement has."""

SERVICE_RATE = f"inventories: {GENLOCK.name}"
AS_MANY_RATE = f"inventories: {AS_MANY.name}"
PLACEMENT_RATE = "inventories: Placement"


async def measure(run: Run) -> None:
    """Drain commands with Genlock, then run Placement's clients."""
    for system, rate in ((GENLOCK, SERVICE_RATE), (AS_MANY, AS_MANY_RATE)):
        drained = await run.drain(system, INVENTORIES)
        run.note(rate, drained.per_second, f"{drained.per_second:,.0f}/s")
        run.note_processor(rate, drained.processor_s, drained.events)
    replaced = await replace_inventories(run.running, PLACEMENT_S)
    per_second = replaced.count / replaced.seconds
    run.note(PLACEMENT_RATE, per_second, f"{per_second:,.1f}/s")
    run.note_processor(PLACEMENT_RATE, replaced.processor_s, replaced.count)


def lines(figures: Figures) -> dict[str, list[Line]]:
    """The lines of the table, by title."""
    return {
        "replace all inventories of a provider: replacements/s": [
            Line("Genlock, provider.set_inventories, one process", figures.of(SERVICE_RATE), ",.0f"),
            Line(f"the same, {PROCESSES} processes", figures.of(AS_MANY_RATE), ",.0f"),
            Line(f"OpenStack Placement, {PROCESSES} processes", figures.of(PLACEMENT_RATE), ",.1f"),
            *(
                Line(f"processor time, {name}: µs", figures.of(f"{rate}, processor of {process}"), ",.0f")
                for name, rate, process in (
                    ("Genlock, Python", SERVICE_RATE, "Genlock"),
                    ("Placement, Python", PLACEMENT_RATE, "Placement"),
                )
            ),
            Line("Genlock, one process / Placement", figures.ratios(SERVICE_RATE, PLACEMENT_RATE), ",.0f"),
            Line(
                f"Genlock, {PROCESSES} processes / Placement",
                figures.ratios(AS_MANY_RATE, PLACEMENT_RATE),
                ",.0f",
                Target(40),
            ),
        ]
    }
