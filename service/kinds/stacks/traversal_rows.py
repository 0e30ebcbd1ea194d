"""Reads the former traversals of stacks from the history, because a stack itself has only its last two."""

from genlock.service.database.statements import statement
from genlock.service.database.transactions import Connection, columns
from genlock.service.deciding.extension import Extension
from genlock.service.deciding.state import State
from genlock.service.kinds.stacks.record import Stack
from genlock.service.kinds.stacks.traversals import AskedTraversals, Traversals


class TraversalRows(Extension):
    """The traversals of stacks in their history."""

    part = Traversals

    async def read(self, connection: Connection, state: State) -> None:
        """Read which of the expected traversals the stacks have had; of most batches all are the current ones."""
        known = state.part(Traversals).known
        known.update((stack.id, stack.traversal) for stack in state.of_kind(Stack))
        if unknown := state.footprint.part(AskedTraversals).pairs - known:
            rows = await connection.fetch(statement("find_traversals"), *columns(unknown))
            known.update((row["record_id"], row["token"]) for row in rows)
