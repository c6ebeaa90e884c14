"""What is wrong with a rendered project, found by reading it."""

import posixpath
import re
from collections.abc import Iterator

from template.parts import Tree

LINK = re.compile(r"\]\(([^)\s#]+)[^)\s]*\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:scripts|configs|benchmarks|docs|engine)/[\w/.-]*\w|--(?:task|head|backbone|data) \w+")


def dead_references(files: Tree, package: str) -> Iterator[str]:
    """Yield each reference of a page, or of code to a page, that leads nowhere: links, paths in backticks, commands."""
    named = re.compile(rf"`((?:{package}|engine|scripts|benchmarks|configs|tests|docs)/[\w/.-]*)`")
    made = {name for path, data in files.items() if path.endswith(".md") for name in headings(data.decode())}
    for path, data in files.items():
        if path.endswith(".py"):
            for page in re.findall(r"docs/[\w/-]+\.md", data.decode()):
                if page not in files:
                    yield f"{path}: {page}"
        if not path.endswith(".md"):
            continue
        text = data.decode()
        prose = FENCED.sub("", text)
        for link in LINK.findall(prose):
            if "://" not in link and not is_there(
                posixpath.normpath(posixpath.join(posixpath.dirname(path), link)), files
            ):
                yield f"{path}: link {link}"
        for name in named.findall(prose):
            if not is_there(name, files) and name not in made:
                yield f"{path}: {name}"
        for block in FENCED.findall(text):
            for word in COMMAND.findall(block):
                if "/" in word and not is_there(word, files) and word not in made:
                    yield f"{path}: command {word}"


def headings(text: str) -> list[str]:
    """Return the files that a guide's headings tell the reader to make."""
    return re.findall(r"^##+ .*`(\S+\.\w+)`$", text, re.MULTILINE)


def is_there(path: str, files: Tree) -> bool:
    return (
        path in files or any(name.startswith(path.rstrip("/") + "/") for name in files) or path in (".", "checkpoints")
    )
