"""Names in the code are the field's."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny import ROOT

LIMIT = re.compile(r"_*(least|most)(_|$)", re.IGNORECASE)
OTHERS = {"most_common"}  # of Python's Counter


def names(code: ast.AST) -> Iterator[str]:
    """Yield the names that a piece of code gives or uses, those of keywords and attributes too."""
    for node in ast.walk(code):
        for field in ("id", "arg", "name", "attr"):
            if isinstance(name := getattr(node, field, None), str):
                yield name


@pytest.mark.parametrize("house", ["engine", "project"])
def test_limits_are_called_min_and_max(house):
    def found(path: Path) -> set[str]:
        return {name for name in names(ast.parse(path.read_text(encoding="utf-8"))) if LIMIT.match(name)} - OTHERS

    files = sorted((ROOT / house).rglob("*.py"))
    assert files
    assert {str(path.relative_to(ROOT)): found(path) for path in files if found(path)} == {}
