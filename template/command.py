"""The command line of scripts/new_project.py."""

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from engine.errors import UsageError
from engine.template_branch import RECORD
from engine.terminal import say
from template.answers import ALL, Answers, check_package, choices, read_record
from template.checkout import check_target, read_template, start_history, whole, write
from template.parts import FEATURES, Catalogue, Tree, read_catalogue
from template.rename import renamed_path
from template.render import render


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; {self.prog} --help says more")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="new_project.py",
        description="Make a project of your own from this template. On a terminal it asks for what no flag says.",
        allow_abbrev=False,
    )
    parser.add_argument("target", nargs="?", metavar="FOLDER", help="the new project's folder, which is not there yet")
    parser.add_argument("--package", metavar="NAME", help="of its package [the folder's name]")
    parser.add_argument("--tasks", metavar="NAMES", help="tasks to keep, separated by commas [all]")
    parser.add_argument("--backbones", metavar="NAMES", help="backbones to keep [all]")
    parser.add_argument("--without", metavar="NAMES", help=f"features to leave out: {', '.join(FEATURES)} [none]")
    parser.add_argument("--dry_run", action="store_true", help="say what would stay and go, and write nothing")
    parser.add_argument("--with_changes", action="store_true", help="take uncommitted changes of the template along")
    parser.add_argument("--record", metavar="FILE", help=f"take the answers of a project's {RECORD}, as updates do")
    parser.add_argument("--files_only", action="store_true", help="start no history, as updates do")
    return parser.parse_args(arguments)


def new_project(arguments: list[str], root: Path) -> None:
    """Make a project from the template at `root`.

    Raises:
        UsageError: nothing was written.
    """
    asked = _parse(arguments)
    template = read_template(root, asked.with_changes)
    catalogue = read_catalogue(template.tree)
    if asked.target is None or (not (asked.tasks or asked.record) and sys.stdin.isatty()):
        _ask(asked, catalogue)
    target = Path(asked.target).expanduser().resolve()
    check_target(target, root)
    answers = _answers(asked, target)
    files = render(template.tree, answers)
    files[RECORD] = answers.record(template.version, template.commit).encode()
    _say(template.tree, files, catalogue, answers, asked.dry_run)
    if asked.dry_run:
        return
    with whole(target) as box:
        write(files, box)
        if not asked.files_only:
            kept = ", ".join(choices(catalogue, answers)[0])
            start_history(box, f"{answers.package}, from the template {template.version} ({template.commit}): {kept}")
    if not asked.files_only:
        say(f'next      cd {asked.target} && pip install -e ".[dev]" && pytest')


def _answers(asked: argparse.Namespace, target: Path) -> Answers:
    if asked.record:
        answers = read_record(Path(asked.record).read_text(encoding="utf-8"))
    else:
        name = asked.package or re.sub(r"[\s-]+", "_", target.name.lower())
        check_package(name)
        answers = Answers(name)
    flags = {flag: value for flag in ("tasks", "backbones", "without") if (value := getattr(asked, flag)) is not None}
    return replace(answers, **flags)


def _ask(asked: argparse.Namespace, catalogue: Catalogue) -> None:
    """Ask for what no flag says; an empty answer takes what stands in brackets.

    Raises:
        UsageError: nobody is there to ask.
    """
    if not sys.stdin.isatty():
        raise UsageError("expected the new project's folder, as in new_project.py ../cellcount")
    while not asked.target:
        asked.target = input("folder of the new project, such as ../cellcount: ").strip()
    for flag, known, default in (
        ("package", "", re.sub(r"[\s-]+", "_", Path(asked.target).name.lower())),
        ("tasks", f" of {', '.join(catalogue.tasks)}", ALL),
        ("backbones", f" of {', '.join(catalogue.backbones)}", ALL),
        ("without", f" any of {', '.join(FEATURES)}", ""),
    ):
        if getattr(asked, flag) is None:
            setattr(asked, flag, input(f"{flag}{known} [{default or 'nothing'}]: ").strip() or default)


def _say(before: Tree, after: Tree, catalogue: Catalogue, answers: Answers, every_file: bool) -> None:
    """Print what stays and what goes, with lines of Python."""
    tasks, backbones, without = choices(catalogue, answers)
    say(f"package   {answers.package}: {_lines(after, answers.package)} lines of Python")
    others = [folder for folder in ("engine", "scripts", "benchmarks", "tests") if _lines(after, folder) != "0"]
    say(f"beside    {', '.join(f'{folder} {_lines(after, folder)}' for folder in others)}")
    heads, data = catalogue.heads_for(tasks), catalogue.data_for(tasks)
    said = f"heads {', '.join(heads)}; backbones {', '.join(backbones)}; data {', '.join(data)} and folders"
    say(f"keeps     tasks {', '.join(tasks)}; {said}")
    gone = [path for path in before if renamed_path(path, answers.package) not in after]
    say(f"leaves    {len(gone)} of the template's {len(before)} files; features: {', '.join(without) or 'none'}")
    for path in gone if every_file else ():
        say(f"          {path}" + (f", {len(before[path].splitlines())} lines" if path.endswith(".py") else ""))


def _lines(files: Tree, folder: str) -> str:
    inside = [data for path, data in files.items() if path.startswith(f"{folder}/") and path.endswith(".py")]
    return f"{sum(len(data.splitlines()) for data in inside):,}"
