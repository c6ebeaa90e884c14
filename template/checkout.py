"""Git, and files on the disk: the template's own are read, a new project is written whole or not at all."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from engine.errors import UsageError
from engine.template_branch import BRANCH, MADE, git, identity
from template.parts import Tree


class Template(NamedTuple):
    """A template's files, and what they are."""

    tree: Tree
    version: str
    commit: str


def read_template(root: Path, with_changes: bool) -> Template:
    """Return the template at `root`.

    Raises:
        UsageError: it is no checkout of git, or has changes that are not committed and were not asked for.
    """
    if not (root / ".git").exists():
        raise UsageError(f"{root} is no checkout of git: clone the template instead of copying it")
    changes = git(root, "status", "--porcelain", "--untracked-files=all").splitlines()
    if changes and not with_changes:
        raise UsageError(
            f"the template has changes that are not committed ({len(changes)} files, {changes[0][3:]} first): commit "
            "them, or take them along with --with_changes"
        )
    names = git(root, "ls-files", "-z", *(["--others", "--exclude-standard", "--cached"] if changes else []))
    tree = {name: (root / name).read_bytes() for name in sorted(set(names.split("\0"))) if (root / name).is_file()}
    version = re.search(rb'^__version__ = "(.+)"$', tree["project/__init__.py"], re.MULTILINE)
    commit = git(root, "rev-parse", "--short=12", "HEAD").strip()
    return Template(tree, version[1].decode() if version else "", commit + (" and changes" if changes else ""))


def check_target(target: Path, root: Path) -> None:
    """Refuse a target at which no project can be made.

    Raises:
        UsageError: it is inside the template, there already, or cannot be written.
    """
    if target.is_relative_to(root):
        raise UsageError(f"{target} is inside the template: choose a folder beside it, such as ../cellcount")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{target} is there already, and not an empty folder: choose another, or remove it")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent} is no folder: make it first")
    if not os.access(target.parent, os.W_OK):
        raise UsageError(f"{target.parent} cannot be written to: choose another place")


@contextlib.contextmanager
def whole(target: Path) -> Iterator[Path]:
    """Give a new folder beside `target` that becomes `target` at the end, and is gone if anything fails before."""
    box = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        box.chmod(0o755)
        yield box
        if target.exists():
            target.rmdir()  # it is empty
        box.rename(target)
    finally:
        shutil.rmtree(box, ignore_errors=True)


def write(files: Tree, folder: Path) -> None:
    """Write files below a folder."""
    for path, data in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def start_history(folder: Path, message: str) -> None:
    """Make a folder a repository with one commit, on `main` and on the branch `template`."""
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "--all", "--force")
    git(folder, *identity(folder), "commit", "-q", "--no-verify", "-m", f"{message}\n\n{MADE}")
    git(folder, "branch", BRANCH)
