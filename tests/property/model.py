"""What records must do, written from the contract's page alone: naive, and one command at a time.

It knows nothing of batches, locks or SQL and imports nothing of the service, so that it can be held against it.
Commands are envelopes as they are sent, with lower-case ids, and with no errors but those that this model finds.
"""

import json
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from tests.property.model_consumers import ModelConsumers
from tests.property.model_providers import NotAppliedError

Json = dict[str, Any]
VerdictSummary = tuple[str, str | None, Json | None, int]
"""The word for the verdict, its reason or code, the token (after success, or the actual one), and the sequence."""

FIELDS = {
    "document.put": ({"expected_generation", "body"}, set[str]()),
    "document.merge": ({"patch"}, {"expected_generation"}),
    "document.delete": ({"expected_generation"}, set[str]()),
    "stack.create": ({"name", "template"}, {"disable_rollback", "timeout_s"}),
    "stack.update": ({"expected_traversal", "template"}, {"disable_rollback", "timeout_s"}),
    "stack.delete": ({"expected_traversal"}, set[str]()),
    "stack.rollback": ({"expected_traversal"}, set[str]()),
    "stack.cancel": ({"expected_traversal"}, set[str]()),
    "stack.set_state": ({"expected_traversal", "status", "reason"}, set[str]()),
    "provider.create": ({"name"}, {"parent_id"}),
    "provider.update": ({"expected_generation"}, {"name", "parent_id"}),
    "provider.delete": ({"expected_generation"}, set[str]()),
    "provider.set_inventories": ({"expected_generation", "inventories"}, set[str]()),
    "provider.put_inventory": ({"expected_generation", "resource_class", "inventory"}, set[str]()),
    "provider.delete_inventory": ({"expected_generation", "resource_class"}, set[str]()),
    "provider.set_traits": ({"expected_generation", "traits"}, set[str]()),
    "provider.set_aggregates": ({"expected_generation", "aggregates"}, set[str]()),
    "consumer.set_allocations": ({"expected_generation", "project_id", "user_id", "allocations"}, {"consumer_type"}),
    "consumer.set_many": ({"consumers"}, set[str]()),
    "consumer.reshape": ({"inventories", "consumers"}, set[str]()),
}
"""For each type the fields that its data must have, and those that it may have."""


@dataclass
class ModelDocument:
    generation: int = 0
    sequence: int = 0
    body: Json | None = None

    def token(self) -> Json:
        return {"generation": self.generation}


@dataclass
class ModelStack:
    name: str
    action: str
    status: str
    traversals: list[str]
    sequence: int
    template: Json
    disable_rollback: bool
    timeout_s: int | None
    previous_template: Json | None = None

    def deleted(self) -> bool:
        return (self.action, self.status) == ("DELETE", "COMPLETE")

    def token(self) -> Json:
        before = self.traversals[-2] if len(self.traversals) > 1 else None
        return {"traversal": self.traversals[-1], "previous_traversal": before}

    def start(self, traversal: str, action: str) -> None:
        self.traversals.append(traversal)
        self.action, self.status = action, "IN_PROGRESS"

    def roll_back(self, traversal: str) -> None:
        empty = self.action == "CREATE" or self.previous_template is None
        self.template = {} if empty else self.previous_template or {}
        self.previous_template = None
        self.start(traversal, "ROLLBACK")


@dataclass
class Model(ModelConsumers):
    """All records, and the answer to each command id."""

    documents: dict[str, ModelDocument] = field(default_factory=dict)
    stacks: dict[str, ModelStack] = field(default_factory=dict)
    answers: dict[str, tuple[str, VerdictSummary]] = field(default_factory=dict)

    def apply(self, command: Json) -> VerdictSummary:
        """Decide one command; one whose id is known is answered as before and changes nothing."""
        command = deepcopy(command)
        content = json.dumps([command["type"], command["subject"], command["data"]], sort_keys=True)
        if command["id"] in self.answers:
            known, answer = self.answers[command["id"]]
            return answer if known == content else ("rejected", "id_reused", None, self.sequence(command))
        answer = self._decide(command)
        self.answers[command["id"]] = content, answer
        if command["type"].startswith("provider."):
            if answer[0] == "succeeded":
                self.makers["provider", command["subject"]] = command["id"]
            if answer[0] != "rejected":
                self.shown[command["id"]] = self.show(command["subject"])
        return answer

    def sequence(self, command: Json) -> int:
        """How many commands were accepted so far by the record that the command is about; of several it is 0."""
        kind, subject = command["type"].split(".")[0], command["subject"]
        if kind == "consumer":
            return self.consumers[subject].generation if subject in self.consumers else 0
        records: dict[str, Any] = {"document": self.documents, "stack": self.stacks, "provider": self.providers}
        return records[kind][subject].sequence if subject in records[kind] else 0

    def _decide(self, command: Json) -> VerdictSummary:
        must, may = FIELDS[command["type"]]
        if not must <= command["data"].keys() <= must | may:
            return "rejected", "invalid_data", None, self.sequence(command)
        kind, _, verb = command["type"].partition(".")
        try:
            token = getattr(self, f"_{kind}_{verb}")(command["id"], command["subject"], command["data"])
        except NotAppliedError as no:
            sequence = self.sequence(command) if no.sequence is None else no.sequence
            return no.word, no.why, no.token, sequence
        return "succeeded", None, token, self.sequence(command)

    # Documents.

    def _document_put(self, _id: str, subject: str, data: Json) -> Json:
        self._expect_document(subject, data["expected_generation"])
        return self._store(subject, data["body"])

    def _document_merge(self, _id: str, subject: str, data: Json) -> Json:
        document = self.documents.get(subject)
        if "expected_generation" in data:
            self._expect_document(subject, data["expected_generation"])
        elif document is None or document.body is None:
            raise NotAppliedError("rejected", "not_found")
        before = document.body if document else None
        return self._store(subject, merge_patch(before or {}, data["patch"]))

    def _document_delete(self, _id: str, subject: str, data: Json) -> Json:
        self._expect_document(subject, data["expected_generation"])
        return self._store(subject, None)

    def _expect_document(self, subject: str, expected: int | None) -> None:
        document = self.documents.get(subject)
        if document is None or document.body is None:
            if expected is not None:
                raise NotAppliedError("conflict", "missing")
            return
        if expected is None:
            raise NotAppliedError("conflict", "exists", document.token())
        if expected < document.generation:
            raise NotAppliedError("conflict", "stale", document.token())
        if expected > document.generation:
            raise NotAppliedError("conflict", "ahead", document.token())

    def _store(self, subject: str, body: Json | None) -> Json:
        if subject in self.documents:
            self.documents[subject].generation += 1
        document = self.documents.setdefault(subject, ModelDocument())
        document.sequence += 1
        document.body = body
        return document.token()

    # Stacks.

    def _stack_create(self, command_id: str, subject: str, data: Json) -> Json:
        stack = self.stacks.get(subject)
        if stack is not None and stack.deleted():
            raise NotAppliedError("rejected", "deleted")
        if stack is not None:
            raise NotAppliedError("conflict", "exists", stack.token())
        if any(other.name == data["name"] and not other.deleted() for other in self.stacks.values()):
            raise NotAppliedError("rejected", "duplicate_name")
        self.stacks[subject] = stack = ModelStack(
            name=data["name"],
            action="CREATE",
            status="IN_PROGRESS",
            traversals=[command_id],
            sequence=1,
            template=data["template"],
            disable_rollback=data.get("disable_rollback", True),
            timeout_s=data.get("timeout_s"),
        )
        return stack.token()

    def _stack_update(self, command_id: str, subject: str, data: Json) -> Json:
        stack = self._owned(subject, data)
        if stack.action == "DELETE":
            raise NotAppliedError("rejected", "wrong_action")
        stack.previous_template, stack.template = stack.template, data["template"]
        stack.disable_rollback = data.get("disable_rollback", stack.disable_rollback)
        stack.timeout_s = data.get("timeout_s", stack.timeout_s)
        stack.start(command_id, "UPDATE")
        return self._counted(stack)

    def _stack_delete(self, command_id: str, subject: str, data: Json) -> Json:
        stack = self._owned(subject, data)
        stack.start(command_id, "DELETE")
        return self._counted(stack)

    def _stack_rollback(self, command_id: str, subject: str, data: Json) -> Json:
        stack = self._owned(subject, data)
        if stack.status == "COMPLETE":
            raise NotAppliedError("rejected", "wrong_status")
        if stack.action in ("ROLLBACK", "DELETE"):
            raise NotAppliedError("rejected", "wrong_action")
        stack.roll_back(command_id)
        return self._counted(stack)

    def _stack_cancel(self, command_id: str, subject: str, data: Json) -> Json:
        stack = self._running(subject, data)
        stack.start(command_id, stack.action)
        stack.status = "FAILED"
        return self._counted(stack)

    def _stack_set_state(self, command_id: str, subject: str, data: Json) -> Json:
        stack = self._running(subject, data)
        if data["status"] == "FAILED" and stack.action in ("CREATE", "UPDATE") and not stack.disable_rollback:
            stack.roll_back(command_id)
        else:
            stack.status = data["status"]
        if data["status"] == "COMPLETE":
            stack.previous_template = None
        return self._counted(stack)

    def _owned(self, subject: str, data: Json) -> ModelStack:
        stack = self.stacks.get(subject)
        expected = data["expected_traversal"]
        if stack is None:
            raise NotAppliedError("conflict", "missing")
        if stack.deleted():
            raise NotAppliedError("rejected", "deleted")
        if expected != stack.traversals[-1]:
            reason = "superseded" if expected in stack.traversals else "ahead"
            raise NotAppliedError("conflict", reason, stack.token())
        return stack

    def _running(self, subject: str, data: Json) -> ModelStack:
        stack = self._owned(subject, data)
        if stack.status != "IN_PROGRESS":
            raise NotAppliedError("rejected", "wrong_status")
        return stack

    @staticmethod
    def _counted(stack: ModelStack) -> Json:
        stack.sequence += 1
        return stack.token()


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2, line by line."""
    if isinstance(patch, dict):
        if not isinstance(target, dict):
            target = {}
        target = dict(target)
        for name, value in patch.items():
            if value is None:
                if name in target:
                    del target[name]
            else:
                target[name] = merge_patch(target.get(name), value)
        return target
    return patch
