"""docs/architecture.md: every function is in the file that the page names, and no circle of files import each other."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

from tests.support.paths import REPOSITORY

PAGE = REPOSITORY / "docs" / "architecture.md"

_STEP = re.compile(r"^\d+\. .*?\[`([\w.]+)`\]\(([^)]+\.py)\)", re.MULTILINE)
_NUMBER = re.compile(r"^(\d+)\. ", re.MULTILINE)

WALK = PAGE.read_text().partition("## The way of a command")[2].partition("## How to add a command")[0]
STEPS: list[tuple[str, str]] = _STEP.findall(WALK)


def definitions(tree: ast.AST, prefix: str = "") -> Iterator[str]:
    """The names of the classes and functions of a module, those in classes after the name of the class."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from definitions(node, f"{prefix}{node.name}.")


@pytest.mark.parametrize(("function", "file"), STEPS)
def test_function_of_a_step_is_in_its_file(function: str, file: str) -> None:
    path: Path = (PAGE.parent / file).resolve()
    assert function in set(definitions(ast.parse(path.read_text())))


def test_steps_are_numbered_and_each_names_its_function() -> None:
    numbers = [int(number) for number in _NUMBER.findall(WALK)]
    assert numbers == list(range(1, len(STEPS) + 1))


def test_no_files_import_each_other_in_a_circle() -> None:
    """The import rules in pyproject.toml are about packages. CycleError names the files."""
    graph = grimp.build_graph("genlock", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert set(TopologicalSorter(imports).static_order()) == graph.modules
