"""Measure Genlock, its peers and its ceilings in turns, and print one table.

python -m bench [--only PART,…] [--rounds N] [--commands N] [--picture FILE] [--save FILE | --show FILE]
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.figures import Figures, Round
from bench.picture import draw
from bench.report import facts, table
from bench.run import Run
from bench.running import WIDTH, positive, say, with_servers
from bench.sections import SECTIONS, sections
from genlock import servers

ROUNDS = 3
COMMANDS = 12_000

RUN_MAX_S = 570.0
"""No round starts that would probably end later, judged by the longest round so far."""


@dataclass(frozen=True, slots=True)
class Results:
    """The results of a run."""

    facts: Sequence[str]
    rounds: Sequence[Round]

    def save(self, path: Path) -> None:
        """Save the results as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"facts": self.facts, "rounds": self.rounds}, indent=1))

    def show(self, picture: Path | None) -> None:
        """Print the table, and draw the picture if a path is given."""
        figures = Figures(self.rounds)
        print("", *self.facts, "", sep="\n")
        Console(width=WIDTH).print(table(sections(figures), len(self.rounds)))
        if picture:
            draw(figures, picture)


def main() -> int:
    """Run all rounds; return the exit code."""
    options = _parser().parse_args()
    if options.show:
        Results(**json.loads(options.show.read_text())).show(options.picture)
        return 0
    results = with_servers(lambda running: _run(running, options.only, options.rounds, options.commands))
    if options.save:
        results.save(options.save)
    results.show(options.picture)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Compare Genlock with peers and ceilings.")
    parser.add_argument(
        "--only", type=_section_names, default=list(SECTIONS), help=f"sections, of {','.join(SECTIONS)}"
    )
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help="of all sections (default %(default)s)")
    parser.add_argument("--commands", type=positive, default=COMMANDS, help="in a full queue (default %(default)s)")
    parser.add_argument("--picture", type=Path, help="where to draw the main figures")
    parser.add_argument("--save", type=Path, help="where to keep all figures, as JSON")
    parser.add_argument("--show", type=Path, help="measure nothing: print and draw the figures saved there")
    return parser


def _section_names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - SECTIONS.keys():
        raise argparse.ArgumentTypeError(f"there is no section {', '.join(sorted(unknown))}")
    return names


async def _run(running: servers.Servers, names: Sequence[str], rounds: int, commands: int) -> Results:
    began = time.monotonic()
    run = Run(running, commands)
    done: list[Round] = []
    longest_s = 0.0
    for number in range(1, rounds + 1):
        if time.monotonic() - began + longest_s > RUN_MAX_S:
            say(f"no time for round {number}")
            break
        round_began = time.monotonic()
        run.so_far = {}
        for name in names:
            say(f"round {number} of {rounds}, {time.monotonic() - began:.0f} s: {name}")
            await SECTIONS[name].measure(run)
        done.append(run.so_far)
        longest_s = max(longest_s, time.monotonic() - round_began)
    say(f"measured in {time.monotonic() - began:.0f} s")
    return Results(await facts(running, Figures(done)), done)


if __name__ == "__main__":
    sys.exit(main())
