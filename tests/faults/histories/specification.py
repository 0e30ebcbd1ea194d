"""A service as the contract describes it, one call at a time: the specification that a history is held against.

The checker does not use it. It answers for the model of tests/property, so that tests can make histories that are
linearizable by construction, and can search through all orders of a short one.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from tests.faults.histories.history import Json
from tests.faults.histories.sights import Key
from tests.property.model import Model


@dataclass
class Specification:
    """All records, the event of each command, and the history of each record."""

    model: Model = field(default_factory=Model)
    events: dict[str, Json] = field(default_factory=dict)
    changes: dict[Key, list[Json]] = field(default_factory=dict)

    def answer(self, request: Json, *, query: bool) -> Json:
        """Answer one call, which takes effect now."""
        if query:
            return self._read(request)
        if request["id"] not in self.events:
            self.events[request["id"]] = self._decide(request)
        event: Json = deepcopy(self.events[request["id"]])
        return event

    def _decide(self, command: Json) -> Json:
        verdict, why, token, sequence = self.model.apply(command)
        kind = command["type"].partition(".")[0]
        data: Json = {"kind": kind, "id": command["subject"], "sequence": sequence}
        told = self.model.told.get(command["id"], {})
        if verdict == "succeeded":
            data |= {"record": self._state(kind, command["subject"]), "token": token, "tokens": told.get("tokens")}
            self._note(command, token, told.get("tokens") or {})
        elif verdict == "conflict":
            data |= self._conflict(command, why, token, told)
        else:
            data |= {"code": why}
        return {"type": f"{command['type']}.{verdict}", "causationid": command["id"], "data": data}

    def _note(self, command: Json, token: Json | None, tokens: Json) -> None:
        made = {(kind, record_id): one for kind, by_id in tokens.items() for record_id, one in by_id.items()}
        if token is not None:
            made[command["type"].partition(".")[0], command["subject"]] = token
        for key, one in made.items():
            self.model.makers[key] = command["id"]
            rows = self.changes.setdefault(key, [])
            rows.append({"sequence": len(rows) + 1, "token": one, "command_id": command["id"]})

    def _conflict(self, command: Json, why: str | None, actual: Json | None, told: Json) -> Json:
        kind, record_id, data = command["type"].partition(".")[0], command["subject"], command["data"]
        if "failures" in told:
            winners = [failure["winner"] and {"command_id": failure["winner"]} for failure in told["failures"]]
            failures = [failure | {"winner": one} for failure, one in zip(told["failures"], winners, strict=True)]
            first: Json = failures[0] | {"failures": failures}
            return first
        maker = self.model.makers.get((kind, record_id))
        if kind == "stack" and actual:
            maker = actual["traversal"]
        winner = maker and {"command_id": maker}
        current = self._state(kind, record_id)
        return {"reason": why, "actual": actual, "winner": winner, "current": current, "expected": _expected(data)}

    def _read(self, query: Json) -> Json:
        kind, _, what = query["type"].partition(".")
        subject = query["subject"]
        if query["type"] == "command.get":
            return {"record": deepcopy(self.events[subject])} if subject in self.events else _not_found()
        if what == "history":
            rows = self.changes.get((query["data"]["kind"], subject))
            return {"records": deepcopy(rows), "next": None} if rows else _not_found()
        state = self._state(kind, subject)
        if state is None:
            return _not_found()
        if what == "get":
            return {"record": state, "sequence": len(self.changes[kind, subject])}
        return self._page(subject, what) | {"next": None, "generation": state["generation"]}

    def _page(self, provider_id: str, what: str) -> Json:
        model = self.model
        if what == "usages":
            used = {name: model.used(provider_id, name) for name in model.providers[provider_id].inventories}
            return {"records": [{"resource_class": name, "used": amount} for name, amount in sorted(used.items())]}
        return {
            "records": [
                {
                    "consumer_id": consumer_id,
                    "consumer_generation": consumer.generation,
                    "project_id": consumer.project,
                    "user_id": consumer.user,
                    "consumer_type": consumer.type,
                    "resources": dict(consumer.amounts[provider_id]),
                }
                for consumer_id, consumer in sorted(model.consumers.items())
                if provider_id in consumer.amounts
            ]
        }

    def _state(self, kind: str, record_id: str | None) -> Json | None:
        if record_id is None:
            return None
        show = {
            "document": self._document,
            "provider": self.model.show,
            "consumer": self.model.show_consumer,
            "stack": self._stack,
        }
        return show[kind](record_id)

    def _document(self, record_id: str) -> Json | None:
        document = self.model.documents.get(record_id)
        if document is None or document.body is None:
            return None
        return {"id": record_id, "generation": document.generation, "body": deepcopy(document.body)}

    def _stack(self, record_id: str) -> Json | None:
        stack = self.model.stacks.get(record_id)
        if stack is None or stack.deleted():
            return None
        names = ("name", "action", "status", "template", "previous_template", "disable_rollback", "timeout_s")
        state: dict[str, Any] = {name: deepcopy(getattr(stack, name)) for name in names}
        return {"id": record_id} | stack.token() | state


def _expected(data: Json) -> Json | None:
    """The token that a command expects."""
    if "expected_traversal" in data:
        return {"traversal": data["expected_traversal"]}
    generation = data.get("expected_generation")
    return None if generation is None else {"generation": generation}


def _not_found() -> Json:
    return {"error": {"code": "not_found"}}
