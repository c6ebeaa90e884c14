"""Pages and settings without what is gone.

A part of a page that is for some of the template alone stands between two comments that no reader of the page sees, and
goes if none of the names is kept: `<!-- only: detect segment -->` ... `<!-- end -->`. Without an end it is the page.
Command lines, rows of tables and names in lists go by themselves.
"""

import posixpath
import re
from collections.abc import Iterator

# The innermost first, as one may be within another.
MARKED = re.compile(
    r"^<!-- only: ([\w \-]+) -->\n((?:(?!^<!-- only: ).)*?)(?:^<!-- end -->\n|\Z)", re.MULTILINE | re.DOTALL
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s#]+)[^)\s]*\)")
# Distributions whose modules have another name.
MODULES = {"pyyaml": "yaml", "pillow": "PIL", "types-pyyaml": "yaml"}


def cut_page(text: str, names: set[str], words: set[str], gone: set[str]) -> str:
    """Return a page without its parts for what is gone.

    Args:
        text: the page.
        names: of all that is kept, as markers have them.
        words: names of tasks, heads, ... that are gone.
        gone: paths of files that are gone.
    """
    while MARKED.search(text):
        text = MARKED.sub(lambda part: part[2] if names & set(part[1].split()) else "", text)
    if words or gone:
        text = FENCE.sub(lambda block: _cut_block(block, words, gone), text)
        text = "".join(line for line in text.splitlines(keepends=True) if not _is_gone_row(line, words, gone))
        parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)  # prose and blocks take turns
        parts[::2] = [re.sub(r"\n{3,}", "\n\n", part) for part in parts[::2]]
        text = "".join(parts)
    return text.strip("\n") + "\n" if text.strip() else ""


def _cut_block(block: re.Match[str], words: set[str], gone: set[str]) -> str:
    """Return a fenced block without the commands and the names of what is gone, or nothing if that was all."""
    if block[1]:
        return block[0]
    named = re.compile(rf"--\w+ ({'|'.join(map(re.escape, words)) or '(?!)'})(?=\s|$)")
    listed = re.compile(rf"(?<=[ (])({'|'.join(map(re.escape, words)) or '(?!)'}), ")
    listed_last = re.compile(rf", ({'|'.join(map(re.escape, words)) or '(?!)'})(?=[,)\s]|$)")
    lines, folder = [], ""
    for line in block[2].splitlines():
        if drawn := re.match(r"( *)([\w.]+/?) {2,}|([\w.]+/)$", line):  # of a drawing of the folders
            name = drawn[2] or drawn[3]
            folder = folder if drawn[1] else name
            path = f"{folder}{name}" if drawn[1] else name
            if path in gone:
                continue
        if named.search(line) or any(path in line for path in gone if "." in path):
            continue
        lines.append(listed_last.sub("", listed.sub("", line)))
    return f"```\n{chr(10).join(lines)}\n```" if any(map(str.strip, lines)) else ""


def _is_gone_row(line: str, words: set[str], gone: set[str]) -> bool:
    """Whether a row of a table has a cell that names nothing but what is gone, or an item of a list links to that."""
    if item := re.match(r"(?:\d+\.|-) \[[^\]]*\]\(([^)#]+)[^)]*\)$", line):
        return any(path.endswith(f"/{item[1]}") for path in gone)
    if not line.startswith("|"):
        return False
    for cell in line.strip().strip("|").split(" | "):
        named = re.findall(r"`([^`]+)`", cell)
        if named and all(_is_named_gone(name, words, gone) for name in named):
            return True
    return False


def _is_named_gone(name: str, words: set[str], gone: set[str]) -> bool:
    flag = re.search(r"--(?:task|head|data) (\w+)", name)
    return name in words or name in gone or (flag is not None and flag[1] in words)


def links(path: str, text: str) -> Iterator[str]:
    """Yield the files that a page's links lead to, as paths from the root."""
    for target in LINK.findall(text):
        if "://" not in target:
            yield posixpath.normpath(posixpath.join(posixpath.dirname(path), target))


def cut_settings(text: str, gone: set[str], scripts: list[str]) -> str:
    """Return settings without the folders of the root that are gone, and commands of scripts that are."""
    for name in gone:
        text = re.sub(rf', "{re.escape(name)}(?:\.\*)?"(?=[,\]])|\|{re.escape(name)}(?=[|)])', "", text)
    return re.sub(
        r"^scripts\.\"project-([\w-]+)\".*\n",
        lambda line: line[0] if line[1].replace("-", "_") in scripts else "",
        text,
        flags=re.MULTILINE,
    )


def cut_requirements(text: str, before: str, after: str) -> str:
    """Return lists of requirements without those whose module the sources named before, and name no more."""
    lines = []
    for line in text.splitlines():
        match = re.match(r"""\s*["']?([A-Za-z][\w.-]*)(?:\[[\w,]+\])?\s*(?:[<>=!~]=|[<>])""", line)
        name = match[1].lower() if match else ""
        module = re.compile(rf"\b{re.escape(MODULES.get(name, name.replace('-', '_')))}\b")
        if not (match and module.search(before) and not module.search(after)):
            lines.append(line)
    text = "\n".join(lines) + "\n"
    for empty in re.findall(r"^optional-dependencies\.(\w+) = \[\n\]\n", text, re.MULTILINE):
        text = text.replace(f"optional-dependencies.{empty} = [\n]\n", "")
        text = re.sub(rf'(?<="project\[)((?:\w+,)*){empty},?', r"\1", text).replace(",]", "]")
    return text.replace('    "project[]",\n', "")
