"""docs/papers.md keeps its word: every paper of a docstring has a row, and every function and test that it names exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import fathom

PACKAGE = Path(fathom.__file__).parent
TESTS = Path(__file__).parent
TEXT = (TESTS.parent / "docs" / "papers.md").read_text(encoding="utf-8")
NAMED_TESTS = sorted(set(re.findall(r"`([\w/]+\.py::test_\w+)`", TEXT)))
NAMED_FUNCTIONS = sorted(set(re.findall(r"\| `([a-z_.]+\.\w+)` \|", TEXT)))


@cache
def names_in(path: Path) -> frozenset[str]:
    """The names that a module defines at its top."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []:
            names.add(ast.unparse(target))
    return frozenset(names)


def test_every_paper_of_a_docstring_has_a_row() -> None:
    told = {paper for path in PACKAGE.rglob("*.py") for paper in re.findall(r"arXiv:\d{4}\.\d{5}", path.read_text(encoding="utf-8"))}
    assert told
    assert told <= {paper for row in TEXT.splitlines() if row.startswith("|") for paper in re.findall(r"arXiv:\d{4}\.\d{5}", row)}


def test_every_fault_has_a_row() -> None:
    assert [int(number) for number in re.findall(r"^\| X(\d+) ", TEXT, re.MULTILINE)] == list(range(1, 26))


@pytest.mark.parametrize("name", NAMED_FUNCTIONS)
def test_every_named_function_exists(name: str) -> None:
    module, _, thing = name.rpartition(".")
    assert thing in names_in(PACKAGE / f"{module.replace('.', '/')}.py")


@pytest.mark.parametrize("name", NAMED_TESTS)
def test_every_named_test_exists(name: str) -> None:
    path, _, test = name.partition("::")
    assert test in names_in(TESTS / path)
