"""Suspects: commands that may have killed the process which decided them. Each is tried alone, and not for ever."""

import asyncio

import structlog

from genlock.service.database.statements import statement
from genlock.service.database.transactions import DatabaseTroubleError, Pool, transaction
from genlock.service.ledger import ledger

CRASHES_MAX = 3
"""How many processes may die over a command alone; after that it is rejected without being decided."""

WITHDRAW_TIMEOUT_S = 1.0
"""How long an orderly end may take to say that it is none of those crashes."""

log = structlog.get_logger()


class Suspects:
    """Counts the attempts at each suspect, over all processes."""

    def __init__(self, pool: Pool, timeout_s: float) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._attempts: dict[str, int] = {}
        """Suspects that this process has not decided yet, and how many processes have tried them, it included."""

    async def record_attempt(self, command_id: str) -> int:
        """Note that this process is about to decide a command alone; return how many others have died over it.

        A command that is decided is only answered, which kills no process. Raises DatabaseTroubleError.
        """
        if command_id not in self._attempts:
            async with transaction(self._pool, self._timeout_s) as connection:
                if await ledger.find(connection, {command_id}):
                    return 0
                self._attempts[command_id] = await connection.fetchval(statement("record_attempt"), command_id)
        return self._attempts[command_id] - 1

    async def clear_attempts(self, command_id: str) -> None:
        """Forget a suspect, which is decided. Raises DatabaseTroubleError."""
        async with transaction(self._pool, self._timeout_s) as connection:
            await connection.execute(statement("clear_attempts"), command_id)
        self._attempts.pop(command_id, None)

    async def withdraw_attempts(self) -> None:
        """Take back the attempts at what this process has not decided: its work ends, but in good order.

        Without the database they stand, and count as one crash unless this process gets the command again.
        """
        if not self._attempts:
            return
        try:
            async with (
                asyncio.timeout(WITHDRAW_TIMEOUT_S),
                transaction(self._pool, WITHDRAW_TIMEOUT_S) as connection,
            ):
                await connection.execute(statement("withdraw_attempts"), list(self._attempts))
        except (TimeoutError, DatabaseTroubleError) as trouble:
            log.warning("attempts stand", action="withdraw", why=str(trouble), suspects=len(self._attempts))
        else:
            self._attempts.clear()
