"""Any commands, however batched and spread over two deciders at once with copies: the model explains the final rows."""

import asyncio
import secrets

from hypothesis import given
from hypothesis import strategies as st

from tests.property.deciding import Deciding, decide_all, enough
from tests.property.replay import check_explained
from tests.property.strategies import command_lists, moved, splits
from tests.support.factories import Json


@enough
@given(st.data())
def test_any_batches_in_two_deciders_at_once_are_explained_by_the_model(
    deciding: Deciding, data: st.DataObject
) -> None:
    # Records of its own for each run: the same example comes again when a failure is made smaller.
    commands = moved(data.draw(command_lists()), secrets.token_hex(8))
    copies = data.draw(st.lists(st.sampled_from(commands), max_size=8))
    everything = data.draw(st.permutations([*commands, *copies]))
    border = data.draw(st.integers(0, len(everything)))
    halves = [data.draw(splits(everything[:border])), data.draw(splits(everything[border:]))]

    async def decide_and_check() -> None:
        answered = await asyncio.gather(*(decide_all(deciding.decider, [b for b in half if b]) for half in halves))
        by_command: dict[str, set[bytes]] = {}
        for command_id, answer in (pair for half in answered for pair in half):
            if b'"code":"id_reused"' not in answer:
                by_command.setdefault(command_id, set()).add(answer)
        # Every copy got the same bytes, and they are the ledger's.
        rows = await deciding.connection.fetch(
            "SELECT id, event FROM ledger WHERE id = ANY ($1::uuid[])", list(by_command)
        )
        assert {str(row["id"]): {row["event"].encode()} for row in rows} == by_command
        await check_explained(deciding.connection, everything)

    deciding.runner.run(decide_and_check())


@enough
@given(command_lists())
def test_two_deciders_with_the_same_commands_at_once_say_the_same(deciding: Deciding, commands: list[Json]) -> None:
    """As after a lost connection: one replica is still deciding what another one gets again."""
    commands = moved(commands, secrets.token_hex(8))

    async def decide_and_check() -> None:
        one, other = await asyncio.gather(*(decide_all(deciding.decider, [commands]) for _ in range(2)))
        kept = [[pair for pair in answered if b'"code":"id_reused"' not in pair[1]] for answered in (one, other)]
        assert kept[0] == kept[1]
        await check_explained(deciding.connection, commands)

    deciding.runner.run(decide_and_check())
