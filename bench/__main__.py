"""Measure how fast each contestant drains the same queue, in turn, and print one table.

python -m bench [--rounds N] [--commands N]
"""

import argparse
import asyncio
import signal
import sys

from rich.console import Console

from bench.contestants import CONTESTANTS
from bench.drain import Drained, drain
from bench.report import facts, table
from bench.workloads import WORKLOADS
from genlock import servers

ROUNDS = 3
COMMANDS = 3_000

WIDTH = 110
"""Columns of the table, the same on a terminal and in a file."""


def main() -> int:
    """Run all rounds; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Hold Genlock against its peers.")
    parser.add_argument("--rounds", type=_positive, default=ROUNDS, help="drains of each kind (default %(default)s)")
    parser.add_argument(
        "--commands", type=_positive, default=COMMANDS, help="in the queue of each drain (default %(default)s)"
    )
    options = parser.parse_args()
    # SIGTERM unwinds as Ctrl-C does, so that servers and processes end with us.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with servers.running() as running:
            asyncio.run(_run(running, options.rounds, options.commands))
    except servers.ServersUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


async def _run(running: servers.Servers, rounds: int, commands: int) -> None:
    results: list[Drained] = []
    # The same bytes for every contestant in every round; each drain has a database of its own, so ids may come again.
    preloads = {workload: workload.make(commands) for workload in WORKLOADS}
    for number in range(1, rounds + 1):
        for workload, preload in preloads.items():
            for contestant in CONTESTANTS:
                result = await drain(running, contestant, workload, preload)
                results.append(result)
                sys.stderr.write(
                    f"round {number} of {rounds}, {workload.name}: {contestant.name} {result.per_second:,.0f}/s\n"
                )
    print("", *await facts(running, preloads, results), "", sep="\n")
    Console(width=WIDTH).print(table(preloads, results))


if __name__ == "__main__":
    sys.exit(main())
