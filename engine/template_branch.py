"""The history of a project made from the template: scripts/new_project.py begins it, scripts/update_project.py adds.

The branch `template` holds what the template makes and nothing else; updates are merged from it.
"""

import os
import subprocess
from pathlib import Path

from engine.errors import RunError, UsageError

BRANCH = "template"
RECORD = ".template.yaml"  # the template's version and the user's answers
MADE = "This is what the template makes; it is not squashed or rebased."  # marks each commit of the branch


def git(where: Path, *arguments: str) -> str:
    """Return git's output in a folder.

    Raises:
        UsageError: git is not installed.
        RunError: git failed; its own message.
    """
    # Variables of a hook or an outer git command would send this one elsewhere.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=where, env=variables, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise UsageError("git is not installed, or not on PATH: install it, as a project has a history") from error
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split())
        raise RunError(f"git {arguments[0]} failed: {reason or f'exit status {done.returncode}'}")
    return done.stdout


def identity(where: Path) -> list[str]:
    """Return git options that name an author, if the user has set none."""
    try:
        git(where, "var", "GIT_COMMITTER_IDENT")
    except RunError:
        return ["-c", "user.name=template", "-c", "user.email=template@localhost"]
    return []
