"""A stack, guarded by the traversal that owns it."""

from typing import ClassVar

from genlock.schemas.base import JsonObject, Kind
from genlock.schemas.outcomes import TraversalToken
from genlock.schemas.stacks import Action, StackState, Status
from genlock.schemas.values import value
from genlock.service.deciding.json_text import JsonText
from genlock.service.deciding.record import Maker


@value
class Stack:
    kind: ClassVar[Kind] = "stack"

    id: str
    sequence: int
    maker: Maker
    stack_name: str
    action: Action
    status: Status
    status_reason: str
    traversal: str
    previous_traversal: str | None
    template: JsonText
    previous_template: JsonText | None
    disable_rollback: bool
    timeout_s: int | None

    @property
    def deleted(self) -> bool:
        return self.action is Action.DELETE and self.status is Status.COMPLETE

    @property
    def token(self) -> TraversalToken:
        return TraversalToken(traversal=self.traversal, previous_traversal=self.previous_traversal)

    @property
    def name(self) -> str | None:
        return None if self.deleted else self.stack_name

    @property
    def size(self) -> int:
        return len(self.template.text)

    def summary(self) -> JsonObject:
        """The stack without its templates."""
        return self._state().model_dump(mode="json", exclude={"template", "previous_template"}, exclude_unset=True)

    def state(self) -> JsonObject:
        return self._state().model_dump(mode="json", exclude_unset=True)

    def _state(self) -> StackState:
        return StackState(
            id=self.id,
            name=self.stack_name,
            action=self.action,
            status=self.status,
            status_reason=self.status_reason,
            traversal=self.traversal,
            previous_traversal=self.previous_traversal,
            disable_rollback=self.disable_rollback,
            timeout_s=self.timeout_s,
            template=self.template.value,
            previous_template=self.previous_template.value if self.previous_template else None,
        )
