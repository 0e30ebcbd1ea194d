"""Every call of the service's logger, read from the source."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import genlock.consumers
import genlock.service

LEVELS = {"debug", "info", "warning", "error", "exception"}


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the logger, as it stands in the source."""

    place: str
    method: str
    event: str | None
    """None where the event is a sentence made elsewhere."""
    action: str | None
    fields: tuple[str, ...]

    @property
    def level(self) -> str:
        return "error" if self.method == "exception" else self.method

    @property
    def all_fields(self) -> tuple[str, ...]:
        """The fields of the line, the traceback of `log.exception` among them."""
        return (*self.fields, "exception") if self.method == "exception" else self.fields


def calls() -> list[Call]:
    """All calls of the service and of its edges, in the order of the files."""
    found = []
    for package in (genlock.service, genlock.consumers):
        for file in sorted(Path(package.__path__[0]).rglob("*.py")):
            tree = ast.parse(file.read_text())
            named = _dictionaries(tree)
            found += [_read(f"{file.name}:{node.lineno}", node, named) for node in _log_nodes(tree)]
    return found


def _log_nodes(tree: ast.AST) -> Iterator[ast.Call]:
    """The calls of `log.…` and of `structlog.get_logger().…`."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(
                    value=ast.Name(id="log") | ast.Call(func=ast.Attribute(attr="get_logger")), attr=method
                )
            ) if method in LEVELS:
                yield node
            case _:
                pass


def _dictionaries(tree: ast.AST) -> dict[str, ast.Dict]:
    """The dictionaries that have a name, for calls that pass `**name`."""
    found = {}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict() as value):
                found[name] = value
            case _:
                pass
    return found


def _read(place: str, node: ast.Call, named: dict[str, ast.Dict]) -> Call:
    assert isinstance(node.func, ast.Attribute)  # noqa: S101 - as it was found
    passed: dict[str, ast.expr] = {}
    for keyword in node.keywords:
        if keyword.arg is not None:
            passed[keyword.arg] = keyword.value
        elif isinstance(keyword.value, ast.Name):
            entries = named[keyword.value.id]
            passed |= {
                ast.literal_eval(key): value for key, value in zip(entries.keys, entries.values, strict=True) if key
            }
    action = passed.pop("action", None)
    event = node.args[0]
    return Call(
        place,
        node.func.attr,
        event.value if isinstance(event, ast.Constant) and isinstance(event.value, str) else None,
        action.value if isinstance(action, ast.Constant) and isinstance(action.value, str) else None,
        tuple(passed),
    )
