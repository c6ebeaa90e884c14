"""Parts of a project's own from the guides in its docs/: a guide's blocks of code become files, under another name.

A guide is one example, or has several below headings that name the tasks of each: `## Boxes: detect`.
"""

import argparse
import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from engine.contract.registry import look_up
from engine.errors import UsageError
from engine.terminal import say

GUIDES = {
    "head": "add-a-head.md",
    "backbone": "add-a-backbone.md",
    "data": "add-data.md",
    "task": "add-a-task.md",
}
TABLES = {"head": "HEADS", "backbone": "BACKBONES", "data": "DATA", "task": "TASKS"}
EXAMPLE = re.compile(r"^(?=## .+: [a-z, ]+$)", re.MULTILINE)
HEADING = re.compile(r"^##+ .*`(\S+\.(?:py|yaml))`$")


class Block(NamedTuple):
    """A block of code, and the path in the heading above it or ""."""

    path: str
    text: str

    @property
    def is_file(self) -> bool:
        """Whether it is a whole file, and not a line for a registry."""
        return not self.path.endswith("__init__.py")

    @property
    def is_entry(self) -> bool:
        """Whether it is the line of a table."""
        return not self.is_file and self.text.startswith(" ")


@dataclass(frozen=True)
class Example:
    """A part as a guide shows it."""

    tasks: tuple[str, ...]  # of which one takes it; none: any task does
    blocks: tuple[Block, ...]  # those that have a path
    commands: tuple[str, ...]  # that try it

    @property
    def entry(self) -> tuple[str, str]:
        """The part's name in flags, and its class."""
        name, symbol = re.findall(r'"(\w+)": (\w+)', "".join(block.text for block in self.blocks if block.is_entry))[0]
        return name, symbol

    def renamed(self, kind: str, name: str) -> "Example":
        """Return the example of a head, ... with its part, class and files called `name`."""
        key, symbol = self.entry
        package = self.blocks[0].path.partition("/")[0]
        old = next(m[1] for b in self.blocks if b.is_file and (m := re.fullmatch(rf"{package}/\w+/(\w+)\.py", b.path)))
        new_symbol = symbol.replace(_camel(old), _camel(name))

        def changed(text: str) -> str:
            text = re.sub(rf"\b{symbol}\b", new_symbol, text)
            text = re.sub(rf'"{key}"', f'"{name}"', text)
            text = re.sub(rf"(?<=[./_]){old}(?=\.py\b| import\b)", name, text)
            return re.sub(rf"(?<=/){key}(?=\.yaml\b)", name, text)

        blocks = tuple(Block(changed(block.path), changed(block.text)) for block in self.blocks)
        flag = re.compile(rf"(?<=--{kind} ){key}\b")
        return Example(self.tasks, blocks, tuple(flag.sub(name, line) for line in self.commands))


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def code_blocks(page: str) -> Iterator[Block]:
    """Yield a page's blocks of Python, and of files in YAML."""
    path = ""
    lines: list[str] | None = None
    for line in page.splitlines():
        if line == "```python" or (line == "```yaml" and path):
            lines = []
        elif line == "```" and lines is not None:
            yield Block(path, "\n".join([*lines, ""]))
            lines = None
        elif lines is not None:
            lines.append(line)
        elif line.startswith("##"):
            heading = HEADING.match(line)
            path = heading[1] if heading else ""


def examples(page: str) -> list[Example]:
    """Return the examples of a guide."""
    found = []
    for part in EXAMPLE.split(page):
        blocks = tuple(block for block in code_blocks(part) if block.path)
        if blocks:
            heading = EXAMPLE.match(part) and part.partition("\n")[0].rpartition(": ")[2]
            commands = part.rpartition("Use it\n")[2].partition("```\n")[2].partition("```")[0]
            found.append(Example(tuple(heading.split(", ")) if heading else (), blocks, tuple(commands.splitlines())))
    return found


def choose_example(root: Path, kind: str, tasks: list[str], task: str = "") -> Example:
    """Return the guide's example for a task, or the first for any of the project's tasks.

    Raises:
        UsageError: the guide is gone, or has no such example.
    """
    page = root / "docs" / GUIDES[kind]
    if not page.exists():
        raise UsageError(f"docs/{GUIDES[kind]} is not here, from which a {kind} would be made: write it by hand")
    found = examples(page.read_text(encoding="utf-8"))
    wanted = [task] if task else tasks
    for example in found:
        if not example.tasks or set(example.tasks) & set(wanted):
            return example
    raise UsageError(f"docs/{GUIDES[kind]} has no {kind} for task {' or '.join(wanted)}: copy an existing one instead")


def part_files(root: Path, kind: str, example: Example) -> dict[str, str]:
    """Return the text of a new part's files by path.

    Raises:
        UsageError: the part exists already, or its table cannot be added to.
    """
    name, _ = example.entry
    files: dict[str, str] = {}
    for block in example.blocks:
        if block.is_file:
            files[block.path] = block.text
            continue
        table = files.get(block.path) or (root / block.path).read_text(encoding="utf-8")
        if f'    "{name}": ' in table and not block.is_entry:
            raise UsageError(f"there is a {kind} {name} already, in {block.path}: choose another name")
        add = _with_entry if block.is_entry else _with_import
        files[block.path] = add(table, kind, block.text)
    return files


def _with_import(table: str, kind: str, line: str) -> str:
    """Return a registry's source with one more import, in alphabetical order."""
    package = line.split()[1].partition(".")[0]
    lines = table.splitlines(keepends=True)
    own = [i for i, one in enumerate(lines) if re.match(rf"from (?:{package}|engine)\b[.\w]* import ", one)]
    after = [i for i in own if lines[i].split()[1] < line.split()[1]]
    lines.insert((after[-1] if after else own[0] - 1) + 1, line)
    return "".join(lines)


def _with_entry(table: str, kind: str, line: str) -> str:
    """Return a registry's source with one more entry at the end of its table.

    Raises:
        UsageError: the table is not a dictionary with one entry per line.
    """
    found = re.search(rf"^{TABLES[kind]}\b.* = \{{\n(?:.*\n)*?(?=\}})", table, re.MULTILINE)
    if found is None:
        raise UsageError(
            f"the registry has no {TABLES[kind]} = {{ ... }} with one entry per line: add the part by hand"
        )
    return table[: found.end()] + line + table[found.end() :]


def add_part(asked: argparse.Namespace, root: Path, tasks: list[str]) -> None:
    """Write a new part's files: `asked` has its kind, its name and the task of the example.

    Raises:
        UsageError: there can be no such part; nothing was written.
    """
    look_up("kind of part", asked.kind, GUIDES)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", asked.name) or keyword.iskeyword(asked.name):
        raise UsageError(
            f"{asked.name!r} is not a module's name: use lower-case letters, digits and _, as in spotlight"
        )
    if asked.task:
        look_up("task", asked.task, dict.fromkeys(tasks))
    example = choose_example(root, asked.kind, tasks, asked.task).renamed(asked.kind, asked.name)
    files = part_files(root, asked.kind, example)
    for path in files:  # nothing is written unless all can be
        if (root / path).exists() and not path.endswith("__init__.py"):
            raise UsageError(f"{path} exists already: choose another name, or remove it")
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        say(f"{'changed' if (root / path).exists() else 'written'}   {path}")
        (root / path).write_text(text, encoding="utf-8")
    for line in example.commands:
        say(f"try it    {line}")
