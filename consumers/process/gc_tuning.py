"""Python's search for cycles of objects, for a process that makes very many objects and hardly a cycle."""

import gc

YOUNG_MAX = 50_000
"""How many more objects than before make it look at the young ones; 700 by default, which are those of ten commands."""


def collect_seldom() -> None:
    """Search seldom, and never again among the objects of the start: saves an eighth of the time for a command."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, 20, 100)
