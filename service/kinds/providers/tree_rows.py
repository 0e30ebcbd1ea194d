"""How the trees of providers are locked and read.

A batch that holds the locks on the roots of two trees knows that nothing moves in or between them.

Two moves in two consumers, each legal alone, could make a loop together: both need the root of each tree that they
touch, so one waits for the other and then sees where it has got to. The roots are found without a lock, locked with
all other rows in the one global order, and found again under the lock. Where a tree has got another root meanwhile,
the batch is decided again, and from then on no other batch moves anything: else moves that are fast enough could keep
it waiting for ever (tests/integration/test_provider_stress.py).
"""

from collections.abc import Collection, Sequence

from genlock.schemas.decode import Command
from genlock.service.database.statements import statement
from genlock.service.database.transactions import Connection, DecideAgainError
from genlock.service.deciding.extension import Extension
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.state import State
from genlock.service.kinds.providers.trees import TreeFootprint, Trees, add_parents_to_be

MOVES_BARRIER = "lock_moves"
"""Shared by all batches that move providers in trees, or consumers between providers."""


class TreeRows(Extension):
    """The parents and the children of providers."""

    part = Trees

    def gather(self, footprint: Footprint, commands: Sequence[Command]) -> None:
        add_parents_to_be(footprint, commands)

    def barrier(self, footprint: Footprint) -> str | None:
        return MOVES_BARRIER if footprint.part(TreeFootprint).moves else None

    async def find(self, connection: Connection, footprint: Footprint) -> None:
        """Add the roots of the trees in which providers move. None of them changes, but no other batch may move it."""
        moves = footprint.part(TreeFootprint).moves
        if moves:
            trees = Trees(await _ancestors(connection, moves))
            footprint.change("provider", *(trees.root(provider_id) for provider_id in moves & trees.parents.keys()))

    async def read(self, connection: Connection, state: State) -> None:
        """Read where the locked providers stand.

        Raises DecideAgainError where a tree has got another root since it was locked.
        """
        footprint, trees = state.footprint.part(TreeFootprint), state.part(Trees)
        trees.parents = await _ancestors(connection, state.footprint.ids("provider"))
        for provider_id in footprint.moves & trees.parents.keys():
            if not state.footprint.may_change(("provider", trees.root(provider_id))):
                raise DecideAgainError(f"the tree of the provider {provider_id} has got another root")
        if footprint.deletions:
            trees.children = {provider_id: set() for provider_id in footprint.deletions}
            for row in await connection.fetch(statement("find_children"), list(footprint.deletions)):
                trees.children[str(row["parent_id"])].add(str(row["id"]))


async def _ancestors(connection: Connection, provider_ids: Collection[str]) -> dict[str, str | None]:
    rows = await connection.fetch(statement("find_ancestors"), list(provider_ids))
    return {str(row["id"]): None if row["parent_id"] is None else str(row["parent_id"]) for row in rows}
