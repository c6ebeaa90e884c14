"""What the template has to offer: its registries, read from the source without importing it, and its features."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Tree = dict[str, bytes]  # files by their path from the root

# What a project can do without: the files of each feature. What only these need goes with them.
FEATURES: dict[str, tuple[str, ...]] = {
    "report": (
        *("scripts/report.py", "engine/report/collect.py", "report.html"),  # the last is what a run writes
        *("engine/report/page.html", "engine/report/comparison.html", "engine/report/style.css"),
    ),
    "export": ("scripts/export.py", "engine/export/formats.py", "engine/export/command.py", "engine/testing/export.py"),
    "benchmark": ("scripts/benchmark.py", "benchmarks/", "tests/benchmarks/"),
    "check_data": ("scripts/check_data.py", "engine/files/check_data.py"),
    "show_data": ("scripts/show_data.py", "engine/report/show_data.py"),
    "compare": ("scripts/compare.py",),
    "crossval": ("scripts/crossval.py", "engine/training/crossval.py"),
    "demo": ("scripts/demo.py", "engine/demo/"),
    "video": ("engine/inference/videos.py", "engine/inputs/video.py", "tests/engine/inference/test_videos.py"),
    "label_table": ("engine/files/label_table.py",),
    "other_tools": ("engine/files/other_tools.py",),
    "new_part": ("scripts/new_part.py",),
    "update_project": ("scripts/update_project.py",),
    "faults": ("tests/faults/",),
    "ci": (".github/",),  # what it runs is run by hand as well
}
NEED = {
    "benchmark": ("classify", "export"),
    "show_data": ("report",),
    "crossval": ("report",),
}  # what features need: tasks, other features
# The template's own, in no project.
TEMPLATES_OWN = (
    *("template/", "tests/template/", "tests/exercises/", "docs/template/"),
    *("scripts/new_project.py", "CHANGELOG.md", "uv.lock"),
)

KINDS = ("TASKS", "HEADS", "BACKBONES", "DATA")


@dataclass(frozen=True)
class Entry:
    """An entry of a registry: where its class is, and what its class says of it."""

    name: str
    module: str
    symbol: str
    attributes: Mapping[str, object]
    parents: frozenset[str]


@dataclass
class Catalogue:
    """The registries of a template."""

    tasks: dict[str, Entry] = field(default_factory=dict)
    heads: dict[str, Entry] = field(default_factory=dict)
    backbones: dict[str, Entry] = field(default_factory=dict)
    data: dict[str, Entry] = field(default_factory=dict)
    own_data: dict[str, Entry] = field(default_factory=dict)  # by the name of the class

    def heads_for(self, tasks: list[str]) -> list[str]:
        """Return the heads that suit one of these tasks."""
        kinds = {self.tasks[task].attributes.get("head_kind") for task in tasks}
        return [name for name, head in self.heads.items() if head.parents & kinds]

    def data_for(self, tasks: list[str]) -> list[str]:
        """Return the data modules that suit one of these tasks."""
        return [name for name, data in self.data.items() if suits(data, tasks)]


def suits(data: Entry, tasks: list[str]) -> bool:
    """Whether a data module is for one of the tasks; one that does not say so is for any."""
    own = data.attributes.get("tasks")
    return not isinstance(own, tuple) or bool(set(own) & set(tasks))


def module_of(path: str) -> str:
    """Return the dotted name of a file of Python."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def modules(tree: Tree) -> dict[str, str]:
    """Return the path of each module by its dotted name."""
    return {module_of(path): path for path in sorted(tree) if path.endswith(".py")}


def read_catalogue(tree: Tree) -> Catalogue:
    """Return what is registered in the package `project`."""
    reader = _Reader(tree)
    found = {kind.lower(): dict(reader.registry(kind)) for kind in KINDS}
    return Catalogue(**found, own_data=dict(reader.registry("OWN_DATA", "DATA")))


class _Reader:
    def __init__(self, tree: Tree) -> None:
        self.tree, self.modules = tree, modules(tree)
        self.parsed: dict[str, ast.Module] = {}

    def parse(self, module: str) -> ast.Module:
        if module not in self.parsed:
            self.parsed[module] = ast.parse(self.tree[self.modules[module]])
        return self.parsed[module]

    def registry(self, table: str, package: str = "") -> Iterator[tuple[str, Entry]]:
        """Yield the entries of a table in project/PACKAGE/__init__.py: a dictionary by name, or a tuple of classes."""
        module = f"project.{(package or table).lower()}"
        for statement in self.parse(module).body:
            target = getattr(statement, "target", None) or next(iter(getattr(statement, "targets", [])), None)
            if not isinstance(target, ast.Name) or target.id != table:
                continue
            value = statement.value  # type: ignore[attr-defined]
            if isinstance(value, ast.Dict):
                pairs = [
                    (str(getattr(key, "value", "")), one) for key, one in zip(value.keys, value.values, strict=True)
                ]
            else:
                pairs = [(one.id, one) for one in value.elts]
            for name, one in pairs:
                if isinstance(one, ast.Name):
                    home, symbol = self.origin(module, one.id)
                    attributes, parents = self.class_of(home, symbol)
                    yield name, Entry(name, home, symbol, attributes, frozenset(parents))

    def origin(self, module: str, name: str) -> tuple[str, str]:
        """Return the module of ours that a name comes from, and its name there."""
        for node in self.parse(module).body:
            if isinstance(node, ast.ImportFrom) and node.module in self.modules:
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return self.origin(node.module, alias.name)
        return module, name

    def class_of(self, module: str, name: str) -> tuple[dict[str, object], set[str]]:
        """Return a class's plain attributes, its parents' as well, and the names of its parents."""
        for node in self.parse(module).body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                attributes: dict[str, object] = {}
                parents: set[str] = set()
                for base in reversed(node.bases):
                    if isinstance(base, ast.Name):
                        inherited, above = self.class_of(*self.origin(module, base.id))
                        attributes |= inherited
                        parents |= {base.id} | above
                for statement in node.body:
                    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                        attributes[statement.targets[0].id] = _plain(statement.value)
                return attributes, parents
        return {}, set()


def _plain(value: ast.expr) -> object:
    if isinstance(value, ast.Name):
        return value.id
    try:
        return ast.literal_eval(value)
    except ValueError:
        return None
