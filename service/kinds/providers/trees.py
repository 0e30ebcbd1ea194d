"""Trees of providers. Whoever holds the locks on the roots of two trees knows that nothing moves in or between them.

Two moves in two consumers, each legal alone, could make a loop together: both need the root of each tree that they
touch, so one waits for the other and then sees where it has got to. The roots are found without a lock, locked with
all other rows in the one global order, and found again under the lock. Where a tree has got another root meanwhile,
the batch is decided again, and from then on no other batch moves anything: else moves that are fast enough could keep
it waiting for ever (tests/integration/test_providers_stress.py).
"""

from genlock.service.database.statements import statement
from genlock.service.database.transactions import Connection, DecideAgainError
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.state import State

Parents = dict[str, str | None]


async def find_roots(connection: Connection, footprint: Footprint) -> set[str]:
    """The roots of the trees in which providers move, as of now."""
    if not footprint.moves:
        return set()
    trees = State(footprint, parents=await _ancestors(connection, footprint.moves))
    return {trees.root_of(provider_id) for provider_id in footprint.moves if provider_id in trees.parents}


async def read(connection: Connection, footprint: Footprint, state: State) -> None:
    """Read where the locked providers stand.

    Raises DecideAgainError where a tree has got another root since it was locked.
    """
    locked = footprint.ids("provider")
    if not locked:
        return
    state.parents = await _ancestors(connection, locked)
    for provider_id in footprint.moves & state.parents.keys():
        if state.root_of(provider_id) not in locked:
            raise DecideAgainError(f"the tree of the provider {provider_id} has got another root")
    if footprint.deletions:
        state.children = {provider_id: set() for provider_id in footprint.deletions}
        for row in await connection.fetch(statement("find_children"), list(footprint.deletions)):
            state.children[str(row["parent_id"])].add(str(row["id"]))


async def _ancestors(connection: Connection, provider_ids: set[str]) -> Parents:
    rows = await connection.fetch(statement("find_ancestors"), list(provider_ids))
    return {str(row["id"]): None if row["parent_id"] is None else str(row["parent_id"]) for row in rows}
