"""Histories: what clients asked and what they were answered, with the times of both by one clock.

A history is all that the checker knows. It is recorded at the clients: a call begins before its message is written and
ends after its answer was read. So the moment at which the operation took effect lies between the two, however
long the message or the answer was on its way. A call without an answer has no end: it may take effect at any later
time, or never.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any

Json = dict[str, Any]

OPERATIONS_MAX = 20_000
"""How many operations one history holds."""

SHOWN_MAX = 300
"""How many characters of an answer a violation's message shows."""

TEXT_MAX = 100
"""A text that is longer than this many characters is kept as its digest, so that an operation takes some kilobytes."""


@dataclass(eq=False, slots=True)
class Operation:
    """One call of a client: a command or a query, as an envelope with `id`, `type`, `subject` and `data`.

    The answer is an outcome event to a command, and the reply's `data` to a query. Times are in seconds.
    """

    client: str
    request: Json
    query: bool
    invoked_s: float
    answered_s: float = inf
    answer: Json | None = None
    not_taken: bool = False
    """The client said that the command was not taken and will have no effect."""

    @property
    def id(self) -> str:
        """The id of the command or query."""
        return str(self.request["id"])

    @property
    def succeeded(self) -> bool:
        """Whether it is a command that was accepted, as far as its client knows."""
        return not self.query and self.answer is not None and self.answer["type"].endswith(".succeeded")

    def __str__(self) -> str:
        ended = "never" if self.answered_s == inf else f"{self.answered_s:.6f} s"
        what = f"{self.request['type']} {self.id} of {self.request.get('subject')} {_cut(self.request['data'])}"
        answer = "not taken" if self.not_taken else _cut(self._told())
        return f"{self.client}, {self.invoked_s:.6f} s to {ended}: {what} -> {answer}"

    def _told(self) -> str:
        if self.answer is None:
            return "no answer"
        if self.query:
            return str(self.answer)
        data = self.answer["data"]
        told = {
            name: data.get(name) for name in ("sequence", "reason", "code", "token", "actual", "tokens", "failures")
        }
        shown = {name: value for name, value in told.items() if value is not None}
        return f"{self.answer['type'].rpartition('.')[2]} {shown}"


@dataclass
class History:
    """All calls since the last check, in the order in which they began."""

    operations: list[Operation] = field(default_factory=list)
    _alone_s: list[tuple[float, float]] = field(default_factory=list)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Leave out the queries on records that were answered meanwhile, for the database promises less then.

        A primary that was started again without its standby shows what it has committed alone; docs/production.md
        says so. `command.get` waits for the standby.
        """
        began_s = time.monotonic()
        try:
            yield
        finally:
            self._alone_s.append((began_s, time.monotonic()))

    def trusted(self) -> list[Operation]:
        """The operations without those that are left out."""
        return [operation for operation in self.operations if not self._is_left_out(operation)]

    def _is_left_out(self, operation: Operation) -> bool:
        if not operation.query or operation.request["type"] == "command.get":
            return False
        return any(
            operation.invoked_s < ended_s and operation.answered_s > began_s for began_s, ended_s in self._alone_s
        )

    @property
    def full(self) -> bool:
        """Whether it holds as many operations as it may; then clients stop calling."""
        return len(self.operations) >= OPERATIONS_MAX

    def began(self, client: str, request: Json, *, query: bool) -> Operation:
        """Note that a call begins now."""
        operation = Operation(client, shortened(request), query, time.monotonic())
        self.operations.append(operation)
        return operation

    @staticmethod
    def ended(operation: Operation, answer: Json) -> None:
        """Note that a call has its answer now."""
        operation.answered_s = time.monotonic()
        operation.answer = shortened(answer)


def _cut(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


def shortened(value: Any) -> Any:
    """The same value with digests in the place of long texts: two of them are equal where the values were."""
    if isinstance(value, dict):
        return {name: shortened(member) for name, member in value.items()}
    if isinstance(value, list):
        return [shortened(member) for member in value]
    if isinstance(value, str) and len(value) > TEXT_MAX:
        return f"{len(value)} characters, SHA-256 {hashlib.sha256(value.encode()).hexdigest()}"
    return value
