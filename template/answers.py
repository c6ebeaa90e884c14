"""What a user wants of the template, checked, and its record in the new project."""

import importlib.metadata
import json
import keyword
import re
import sys
from dataclasses import asdict, dataclass

from engine.contract.registry import closest
from engine.errors import UsageError
from engine.template_branch import RECORD
from template.parts import FEATURES, Catalogue

HEAD = """\
# Which template this project was made from, and with which answers: scripts/update_project.py reads it. The branch
# `template` holds what the template made and nothing else; updates are merged from it, so do not squash or rebase it.
"""
ALL = "all"
FOLDERS = ("engine", "scripts", "tests", "benchmarks", "template", "docs", "configs", "checkpoints", "data")


@dataclass(frozen=True)
class Answers:
    """A new project: its package, and what it keeps. `ALL` stays all when the template gets more."""

    package: str
    tasks: str = ALL  # names, separated by commas
    backbones: str = ALL
    without: str = ""

    def record(self, version: str, commit: str) -> str:
        """Return the record in YAML, each value as JSON."""
        values = {"version": version, "commit": commit, **asdict(self)}
        return HEAD + "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())


def read_record(text: str) -> Answers:
    """Return the answers of a record.

    Raises:
        UsageError: it is not one.
    """
    pairs = [line.partition(": ") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        values = {key: str(json.loads(value)) for key, _, value in pairs}
        return Answers(**{key: value for key, value in values.items() if key not in ("version", "commit")})
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{RECORD} cannot be read ({error}): restore it with git checkout template {RECORD}"
        ) from error


def check_package(name: str) -> None:
    """Refuse names that a package cannot have, or that stand for something else.

    Raises:
        UsageError: says what is wrong with it.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UsageError(f"package {name!r}: expected lower-case letters, digits and _, such as --package cellcount")
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise UsageError(f"package {name}: that is a word of Python's; choose another, such as --package my_{name}")
    if name in sys.stdlib_module_names:
        raise UsageError(f"package {name}: a module of Python has that name; choose another: --package my_{name}")
    if name in FOLDERS:
        raise UsageError(f"package {name}: another folder has that name; choose another, such as --package my_{name}")
    installed = importlib.metadata.packages_distributions()
    if name != "project" and name in installed:
        owner = installed[name][0]
        raise UsageError(f"package {name}: {owner} has a module of that name; choose another: --package my_{name}")


def names(text: str, known: list[str]) -> list[str]:
    """Return the names in a text that separates them by commas; all that are known for `ALL`."""
    return known if text == ALL else list(dict.fromkeys(name for one in text.split(",") if (name := one.strip())))


def choices(catalogue: Catalogue, answers: Answers) -> tuple[list[str], list[str], list[str]]:
    """Return the tasks, the backbones that are kept, and the features that are not.

    Raises:
        UsageError: there is no such name: gives the closest valid one, and all; or none is left.
    """
    chosen = []
    for flag, known in (("tasks", [*catalogue.tasks]), ("backbones", [*catalogue.backbones]), ("without", [*FEATURES])):
        wanted = names(getattr(answers, flag), known)
        for name in wanted:
            if name not in known:
                raise UsageError(f"--{flag}: there is no {name!r}{closest(name, known)}; there are {', '.join(known)}")
        if not wanted and flag != "without":
            raise UsageError(f"--{flag}: choose at least one of {', '.join(known)}")
        chosen.append([name for name in known if name in wanted])
    return chosen[0], chosen[1], chosen[2]
