"""Who may import whom: the project is its owner's, and the engine that carries it knows nothing of it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny import ROOT

# What the engine publishes for a project's own parts; the rest of it is private to it.
PUBLIC = ("engine.contract", "engine.inputs", "engine.data", "engine.shortcuts")
# The one file that joins both houses may use more.
JOINS = {
    "project/__init__.py": ("engine.files.folders",),
    "project/data/__init__.py": ("engine.files.folders",),
}


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, those within functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None and not node.level, f"{path}: import by the full name"
            yield node.module


def files(house: str) -> list[Path]:
    return sorted((ROOT / house).rglob("*.py"))


@pytest.mark.parametrize("path", files("engine"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_engine_knows_no_project(path):
    others = ("project", "benchmarks", "tests", "scripts")
    assert not [name for name in imports(path) if name.partition(".")[0] in others]


def test_only_tests_use_the_checks_of_parts():
    own = ROOT / "engine" / "testing"
    using = [path for house in ("engine", "project", "scripts", "benchmarks") for path in files(house)]
    using = [path for path in using if own not in path.parents]
    assert len(using) > 100 and not [
        path for path in using for name in imports(path) if name.startswith("engine.testing")
    ]
    assert not [path for path in files("engine/testing") if "pytest" in imports(path)]


@pytest.mark.parametrize("path", files("project"), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_project_uses_what_the_engine_publishes(path):
    allowed = (*PUBLIC, *JOINS.get(str(path.relative_to(ROOT)), ()))
    used = [name for name in imports(path) if name.partition(".")[0] in ("engine", "benchmarks", "tests", "scripts")]
    assert not [name for name in used if not any(name == own or name.startswith(f"{own}.") for own in allowed)]
