"""Sizes: no file and no function so long that it hides what it does; no test without its sentence."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE_LINES = 600
FUNCTION_LINES = 60


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_files_are_short() -> None:
    """No file has more than 600 lines, tests and tables included."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources("candlewick", "tests", "benchmarks")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > FILE_LINES
    }
    assert long == {}


def test_functions_are_short() -> None:
    """No function of the program has more than 60 lines."""
    long = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": lines
        for path in sources("candlewick")
        for node in functions(path)
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES
    }
    assert long == {}


def test_every_test_says_what_it_proves() -> None:
    """Each test has a docstring of one sentence."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sources("tests")
        for node in functions(path)
        if node.name.startswith("test_") and not (ast.get_docstring(node) or "").rstrip().endswith((".", "?"))
    ]
    assert silent == []
