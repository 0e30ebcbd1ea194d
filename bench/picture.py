"""The picture of the main figures: medians, with thin lines from the minimum to the maximum of the rounds.

The colours are those of Okabe and Ito, which colour-blind people can distinguish.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from bench import ceilings, drain, inventories, latency
from bench.figures import Figures
from bench.peers.placement import PROCESSES

GENLOCK, PEER, CEILING = "#0072B2", "#E69F00", "#999999"
POINTS = {"p50": GENLOCK, "p99": "#D55E00", "p99.9": "#CC79A7"}

WRITTEN = ("p50", "p99")
"""The percentiles with a printed value; more would overlap."""

INCHES = (11, 7.2)
THICK_BARS_MAX = 6
DOTS_PER_INCH = 100

Bar = tuple[str, str, str]
"""A label, the name of a figure, and a colour."""


def draw(figures: Figures, path: Path) -> None:
    """Draw the figures into a PNG file."""
    picture = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    (backlog, shapes), (loads, inventory) = picture.subplots(2, 2)
    _bars(backlog, "Commands drained per second", figures, _backlog())
    _bars(shapes, "One Genlock process, by load and batch", figures, _shapes())
    _latency(loads, figures)
    _bars(inventory, "Inventories replaced per second", figures, _inventories())
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, metadata={"Software": None})


def _backlog() -> Sequence[Bar]:
    return (
        ("Celery + psycopg", drain.CELERY_RATE, PEER),
        ("FastStream + asyncpg", drain.FASTSTREAM_RATE, PEER),
        (f"FastStream, {drain.CORES} processes", drain.FASTSTREAM_CORES_RATE, PEER),
        ("Genlock", drain.RATE, GENLOCK),
        (f"Genlock, {drain.CORES} processes", drain.CORES_RATE, GENLOCK),
        ("Genlock in bulk", drain.BULK_RATE, GENLOCK),
        (f"in bulk, {drain.CORES} processes", drain.BULK_CORES_RATE, GENLOCK),
        ("RabbitMQ alone, same edges", drain.CEILING_RATE, CEILING),
        ("PostgreSQL alone, same SQL", ceilings.ONE, CEILING),
        (f"the same, {drain.CORES} connections", ceilings.ALL, CEILING),
    )


def _inventories() -> Sequence[Bar]:
    return (
        ("OpenStack Placement", inventories.PLACEMENT_RATE, PEER),
        ("Genlock", inventories.SERVICE_RATE, GENLOCK),
        (f"Genlock, {PROCESSES} processes", inventories.AS_MANY_RATE, GENLOCK),
    )


def _shapes() -> Sequence[Bar]:
    return tuple((label, name, GENLOCK) for label, name in drain.SHAPES.items())


def _bars(axes: Any, title: str, figures: Figures, bars: Sequence[Bar]) -> None:
    """Horizontal bars, from the top down, with their values."""
    _frame(axes, title)
    measured = [(label, figures.of(name), colour) for label, name, colour in bars if figures.of(name)]
    for place, (_label, values, colour) in enumerate(measured):
        middle = median(values)
        axes.barh(place, middle, color=colour, height=0.7)
        axes.plot((min(values), max(values)), (place, place), color="black", linewidth=1)
        axes.annotate(f"{middle:,.0f}", (max(values), place), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(measured)), [label for label, _values, _colour in measured])
    # A plot of few bars has bars as thick as one of many.
    axes.set_ylim(max(len(measured), THICK_BARS_MAX) - 0.5, -0.5)
    axes.margins(x=0.15)
    axes.xaxis.set_visible(False)
    axes.spines[["left", "bottom"]].set_visible(False)


def _latency(axes: Any, figures: Figures) -> None:
    """The percentiles at each load, on a logarithmic scale."""
    _frame(axes, "Publish to outcome, milliseconds")
    names = {"a lone\ncommand": latency.LONE_NAME} | {
        f"{share * 100:.0f} % of the\ndrain rate": latency.load_name(share) for share in latency.LOADS
    }
    for point, colour in POINTS.items():
        found = [(place, figures.of(f"{name}, {point}")) for place, name in enumerate(names.values())]
        shown = [(place, values) for place, values in found if values]
        if not shown:
            continue
        places, middles = [place for place, _ in shown], [median(values) for _, values in shown]
        axes.plot(places, middles, color=colour, marker="o", label=point)
        for place, values in shown:
            axes.plot((place, place), (min(values), max(values)), color=colour, linewidth=1)
            if point in WRITTEN:
                middle = median(values)
                text = f"{middle:,.0f}" if middle >= 10 else f"{middle:.1f}"  # noqa: PLR2004 - two digits tell enough
                axes.annotate(text, (place, middle), (8, -4), textcoords="offset points", color=colour)
    axes.set_xticks(range(len(names)), names)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12)
    if axes.lines:
        axes.legend(frameon=False, loc="upper left")


def _frame(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
