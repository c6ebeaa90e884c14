"""The package `project` by another name: by the patterns in which the name stands for the package, not by the word."""

import re

WIDTH = 120
# In code and in prose; 'a project', 'the project's parts' and W&B's `project=` stay.
PATTERNS = (
    re.compile(r"(?m)^(\s*(?:from|import) )project\b"),
    re.compile(r"(\bfrom )project(?= import )"),
    re.compile(r"(?<![\w.-])()project(?=\.[\w*])"),  # a module
    re.compile(r"(?<![\w.-])()project(?=/)"),  # the folder
    re.compile(r"(\btests[./])project\b"),
    re.compile(
        r"()(?<=[\"'`])project(?=[\"'`])(?<![\w)]\[\"project)(?!\": |\", \"entity)"
    ),  # the name in quotes, if no keyword and no key of pyproject.toml
    re.compile(
        r"(?<![\w./-])()project(?=-(?:train|evaluate|predict|export|report|demo|compare|crossval|benchmark|check|show))"
    ),
    re.compile(r"()(?<=\")project(?=\[\w)"),  # its extras
    re.compile(r"(\(\?!|\(\?:)project(?=\|)"),  # in patterns of paths
    re.compile(r"(\A# )project$", re.MULTILINE),
    re.compile(r"(content=\")project(?=, )"),
)
VARIABLES = re.compile(r"(?<![A-Z_])PROJECT_(?=[A-Z])")
WITH_COMMENT = re.compile(r"^( *)([^#\n\"']*(?:\"[^\"\n]*\"[^#\n\"']*)*)  (# .*)$", re.MULTILINE)
WIDE = re.compile(r"(?<![\w.-])project/\S*(?: +|  *-+)(?= |-|\S)")  # in drawings and lists, where columns are kept


def renamed(path: str, text: str, package: str) -> str:
    """Return a file's text with the package called `package`."""
    if path.endswith(".md"):
        text = WIDE.sub(lambda found: _as_wide(found[0], package), text)
    if path.endswith(".py") and re.search(r"^ *import project\b(?!\.)", text, re.MULTILINE):
        text = re.sub(r"(?<=[(, ])project(?=[,)])", package, text)
    for pattern in PATTERNS:
        text = pattern.sub(lambda found: f"{found[1]}{package}", text)
    text = VARIABLES.sub(f"{package.upper()}_", text)
    if path == "pyproject.toml" and len(package) > len("project"):  # comments and docstrings grow with the name
        text = text.replace('\nignore = ["RUF', '\nignore = ["E501", "RUF')
    if path.endswith(".md"):  # in its blocks of code
        text = sorted_imports(text, package)
    if path.endswith(".py"):
        text = WITH_COMMENT.sub(_comment_above, sorted_imports(text, package))
    return text


def _comment_above(line: re.Match[str]) -> str:
    """Return a line of code with its comment above it, if both are too wide together."""
    if len(line[0]) <= WIDTH or line[3].startswith(("# noqa", "# type:")):
        return line[0]
    return f"{line[1]}{line[3]}\n{line[1]}{line[2]}"


def _as_wide(text: str, package: str) -> str:
    """Return a piece of a drawing with the name in it, as wide as before if it can be."""
    name = text.replace("project", package, 1)
    spare = len(name) - len(text)
    gap = text[-1]
    if spare > 0:
        while spare and name.endswith(gap * 2):
            name, spare = name[:-1], spare - 1
        return name
    return name + gap * -spare if len(text) - len(text.rstrip(gap)) > 1 else name


def renamed_path(path: str, package: str) -> str:
    """Return where a file lies when the package is called `package`."""
    return re.sub(r"^(tests/)?project/", rf"\1{package}/", path)


IMPORTS = re.compile(r"(?:^ *(?:from (?!\.)\S+ import (?:\([^)]*\)[^\n]*|[^\n(]*)|import [^\n]*)\n)+", re.MULTILINE)
IMPORT = re.compile(r"^ *(?:from (\S+) import (?:\([^)]*\)[^\n]*|[^\n(]*)|import (\S+)[^\n]*)\n", re.MULTILINE)


def sorted_imports(text: str, package: str) -> str:
    """Return source whose imports of our own are in their order again, as ruff has it, and no wider than its lines."""
    ours = {package, "engine", "scripts", "benchmarks", "tests"}

    def sorted_block(block: re.Match[str]) -> str:
        found = list(IMPORT.finditer(block[0]))
        depths = {len(one[0]) - len(one[0].lstrip()) for one in found}
        if len(depths) > 1 or not all((one[1] or one[2]).partition(".")[0] in ours for one in found):
            return block[0]
        found.sort(key=lambda one: (one[1] is not None, (one[1] or one[2]).lower()))
        return "".join(_within(one[0]) for one in found)

    return IMPORTS.sub(sorted_block, text)


def _within(statement: str) -> str:
    """Return an import, one name to a line if it is too wide."""
    if len(statement.rstrip("\n")) <= WIDTH or "#" in statement or "(" in statement or " import " not in statement:
        return statement
    head, _, names = statement.rstrip("\n").partition(" import ")
    return f"{head} import (\n" + "".join(f"    {name},\n" for name in names.split(", ")) + ")\n"
