"""The random part of the fault suite: `python -m tests.faults --seconds 300 --seed 7`, or `make test-faults`.

Faults come by a schedule that is drawn from the seed. Every half a minute they stop, and once all is quiet the oracle
checks the state afterwards.
"""

import argparse
import asyncio
import logging
import math
import secrets
import signal
import sys
import tempfile
from pathlib import Path

from genlock.consumers.process.logs import SILENCED
from tests.faults.environment import private_cluster, private_servers
from tests.faults.run import Run

PHASE_S = 30.0


async def _main(run: Run, seconds: float) -> bool:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    phases = max(1, math.ceil(seconds / PHASE_S))
    return await run.run([seconds / phases] * phases)


def main() -> int:
    """Run it; the exit code is 0 if all that was promised held."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Faults at random, by a seed.")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long faults come (default 300)")
    parser.add_argument("--seed", default="", help="to repeat a schedule")
    parser.add_argument("--lanes", type=int, default=1, help="how many lanes there are (default 1, one inbox)")
    parser.add_argument("--cluster", action="store_true", help="on a cluster, and a PostgreSQL with a standby")
    parser.add_argument("--keep-logs", action="store_true", help="write the logs to a file, even if everything held")
    arguments = parser.parse_args()
    seed = arguments.seed or str(secrets.randbelow(10**6))
    for library in (*SILENCED, "genlock._client"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    # SIGTERM unwinds as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        private = private_cluster if arguments.cluster else private_servers
        with tempfile.TemporaryDirectory(prefix="genlock-faults-") as folder, private() as servers:
            run = Run(servers, seed, Path(folder), lanes=arguments.lanes, keep_logs=arguments.keep_logs)
            held = asyncio.run(_main(run, arguments.seconds))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 128 + signal.SIGINT
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
