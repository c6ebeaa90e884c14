"""Add a part of your own from its guide in docs/: its file, its test and its registry entry, for you to change.

python scripts/new_part.py head spotlight
python scripts/new_part.py backbone strided
"""

import keyword
import re
from pathlib import Path

from engine.config.arguments import Parser
from engine.errors import UsageError
from engine.start import run_command
from engine.terminal import say

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "project"
GUIDES = {"head": "add-a-head.md", "backbone": "add-a-backbone.md", "data": "add-data.md", "task": "add-a-task.md"}
TABLES = {"head": "HEADS", "backbone": "BACKBONES", "data": "DATA", "task": "TASKS"}
HEADING = re.compile(r"^## .*`(\S+\.(?:py|yaml))`$")
PART = re.compile(rf"{PACKAGE}/\w+/(\w+)\.py")


def main(arguments: list[str]) -> None:
    parser = Parser(prog="new_part.py", description="Add a part of your own from its guide in docs/.")
    parser.add_argument("kind", help=f"one of {', '.join(GUIDES)}")
    parser.add_argument("name", help="its name in flags and files, such as spotlight")
    asked = parser.parse_args(arguments)
    if asked.kind not in GUIDES:
        raise UsageError(f"there is no kind of part {asked.kind!r}: choose one of {', '.join(GUIDES)}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", asked.name) or keyword.iskeyword(asked.name):
        raise UsageError(
            f"{asked.name!r} is not a module's name: use lower-case letters, digits and _, as in spotlight"
        )
    files = part_files(asked.kind, asked.name)
    check_use(asked.kind, files)
    for path in files:  # nothing is written unless all can be
        if (ROOT / path).exists() and not path.endswith("__init__.py"):
            raise UsageError(f"{path} exists already: choose another name, or remove it")
    for path, text in files.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        say(f"{'changed' if (ROOT / path).exists() else 'written'}   {path}")
        (ROOT / path).write_text(text, encoding="utf-8")
    for line in commands(asked.kind, asked.name):
        say(f"try it    {line}")


def part_files(kind: str, name: str) -> dict[str, str]:
    """Return the text of a new part's files by path: the guide's files, renamed.

    Raises:
        UsageError: the guide is gone, or the part exists already.
    """
    files: dict[str, str] = {}
    table = ""
    for path, text in named_blocks(kind, name):
        if not path.endswith("__init__.py"):
            files[path] = text
            continue
        table = files.get(path) or (ROOT / path).read_text(encoding="utf-8")
        if f'    "{name}": ' in table and not text.startswith(" "):
            raise UsageError(f"there is a {kind} {name} already, in {path}: choose another name")
        files[path] = with_entry(table, kind, text) if text.startswith(" ") else with_import(table, text)
    return files


def check_use(kind: str, files: dict[str, str]) -> None:
    """Refuse a part that no task of this project could use.

    Raises:
        UsageError: the guide's head or data is for a task that this project lacks.
    """
    tasks = "".join(path.read_text(encoding="utf-8") for path in (ROOT / PACKAGE / "tasks").glob("*.py"))
    for text in files.values():
        head, data = (
            re.search(r"^class \w+\((\w+Head)\):", text, re.MULTILINE),
            re.search(r"    tasks = \(\"(\w+)\"", text),
        )
        if kind == "head" and head and f"head_kind = {head[1]}" not in tasks:
            raise UsageError(
                f"the guide's head is a {head[1]}, which no task here takes: copy an existing head instead"
            )
        if kind == "data" and data and f'    "{data[1]}": ' not in tasks:
            raise UsageError(f"the guide's data is for task {data[1]}, which is not here: copy existing data instead")


def named_blocks(kind: str, name: str) -> list[tuple[str, str]]:
    """Return a guide's blocks of code with their paths, renamed to `name`."""
    blocks = read_guide(kind)
    old = next(found[1] for path, _ in blocks if (found := PART.fullmatch(path)) and found[1] != "__init__")
    entries = [text for path, text in blocks if path.endswith("__init__.py") and text.startswith(" ")]
    key, class_name = re.findall(r'"(\w+)": (\w+)', entries[0])[0]
    camel = "".join(word.capitalize() for word in old.split("_"))
    new_class = class_name.replace(camel, "".join(word.capitalize() for word in name.split("_")))

    def renamed(text: str) -> str:
        text = re.sub(rf"\b{class_name}\b", new_class, text)
        text = re.sub(rf'"{key}"', f'"{name}"', text)
        text = re.sub(rf"(?<=[./_]){old}(?=\.py\b| import\b)", name, text)
        return re.sub(rf"(?<=/){key}(?=\.yaml\b)", name, text)

    return [(renamed(path), renamed(text)) for path, text in blocks]


def read_guide(kind: str) -> list[tuple[str, str]]:
    """Return a guide's blocks of code, each with the path in the heading above it.

    Raises:
        UsageError: the guide is gone.
    """
    page = ROOT / "docs" / GUIDES[kind]
    if not page.exists():
        raise UsageError(f"docs/{GUIDES[kind]} is not here, from which a {kind} would be made: write it by hand")
    return [(path, text) for path, text in code_blocks(page.read_text(encoding="utf-8")) if path]


def code_blocks(page: str) -> list[tuple[str, str]]:
    """Return a page's blocks of Python, and of files in YAML: the path in the heading above or "", and the text."""
    blocks: list[tuple[str, str]] = []
    path = ""
    lines: list[str] | None = None
    for line in page.splitlines():
        if line == "```python" or (line == "```yaml" and path):
            lines = []
        elif line == "```" and lines is not None:
            blocks.append((path, "\n".join([*lines, ""])))
            lines = None
        elif lines is not None:
            lines.append(line)
        elif line.startswith("## "):
            heading = HEADING.match(line)
            path = heading[1] if heading else ""
    return blocks


def with_import(table: str, line: str) -> str:
    """Return a registry's source with one more import, in alphabetical order."""
    lines = table.splitlines(keepends=True)
    own = [i for i, one in enumerate(lines) if re.match(rf"from (?:{PACKAGE}|engine)\b[.\w]* import ", one)]
    after = [i for i in own if lines[i].split()[1] < line.split()[1]]
    lines.insert((after[-1] if after else own[0] - 1) + 1, line)
    return "".join(lines)


def with_entry(table: str, kind: str, line: str) -> str:
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


def commands(kind: str, name: str) -> list[str]:
    """Return the commands at the guide's end, renamed: its tests, and its training."""
    page = (ROOT / "docs" / GUIDES[kind]).read_text(encoding="utf-8")
    block = page.rpartition("Use it\n")[2].partition("```\n")[2].partition("```")[0]
    key = re.findall(r'^    "(\w+)": \w+,$', "".join(text for _, text in read_guide(kind)), re.MULTILINE)[0]
    return [re.sub(rf"(?<=--{kind} ){key}\b", name, line) for line in block.splitlines()]


if __name__ == "__main__":
    run_command(main)
