"""Update a project made from the template to a newer template: its changes are merged, yours stay.

python scripts/update_project.py --template ../template
python scripts/update_project.py --template ../template --tasks classify,segment

The newer template renders your answers (.template.yaml) to the branch `template`, which is merged into yours.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from engine.errors import RunError, UsageError
from engine.start import run_command
from engine.terminal import say

ROOT = Path(__file__).resolve().parents[1]
RECORD = ".template.yaml"
BRANCH = "template"
MADE = "This is what the template makes; it is not squashed or rebased."  # marks each commit of the branch


def git(*arguments: str, where: Path = ROOT, check: bool = True) -> str:
    """Return git's output; '' if it fails and `check` is false.

    Raises:
        UsageError: git is not installed.
        RunError: git failed; its own message.
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=where, env=variables, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise UsageError("git is not installed, or not on PATH: install it, because updates are merged") from error
    if done.returncode and check:
        raise RunError(f"git {arguments[0]} failed: {(done.stderr or done.stdout).strip().splitlines()[0]}")
    return "" if done.returncode else done.stdout.strip()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="update_project.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--template", required=True, help="folder of the newer template, or its git URL")
    asked, changed_answers = parser.parse_known_args(arguments)
    check_project()
    old = tip_of_branch()
    with tempfile.TemporaryDirectory(prefix="update-") as box:
        template = checkout(asked.template, Path(box))
        rendered = Path(box) / "rendered"
        program = [sys.executable, str(template / "scripts" / "new_project.py"), str(rendered), "--files_only"]
        command = [*program, "--record", str(ROOT / RECORD), *changed_answers]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UsageError((done.stderr or done.stdout).strip().splitlines()[-1].removeprefix("error: "))
        new = commit(rendered, old, Path(box) / "tree")
    if new == old:
        say("nothing new: the branch `template` is up to date")
    say_edits(old)
    merge(new)


def check_project() -> None:
    """Refuse a project that cannot be updated now.

    Raises:
        UsageError: says what to do first.
    """
    if not (ROOT / RECORD).exists():
        raise UsageError(f"there is no {RECORD} here, which says what to update: this was not made by new_project.py")
    if not git("rev-parse", "--git-dir", check=False):
        raise UsageError(f"{ROOT} is not a git repository, and updates are merged: git init, and commit all files")
    changes = git("status", "--porcelain", "--untracked-files=no").splitlines()
    if changes:
        raise UsageError(f"there are uncommitted changes ({changes[0].split()[-1]} first): commit them")
    if git("branch", "--show-current") == BRANCH:
        raise UsageError(f"the branch {BRANCH} belongs to the template: switch to your own, git switch main")


def tip_of_branch() -> str:
    """Return the template's last commit; restore the branch if it is gone.

    Raises:
        UsageError: no commit in the history is the template's.
    """
    tip = git("rev-parse", "--verify", "-q", BRANCH, check=False)
    if not tip:
        tip = git("log", "-1", "--all", "--format=%H", "--fixed-strings", f"--grep={MADE}")
        tip = tip or git("log", "-1", "--format=%H", "--diff-filter=A", "--", RECORD)
        if not tip:
            raise UsageError(f"the branch {BRANCH} is gone, and so are its commits: git fetch it from its remote")
        git("branch", BRANCH, tip)
        say(f"the branch {BRANCH} was gone, and is restored at {tip[:12]}")
    return tip


def checkout(template: str, box: Path) -> Path:
    """Return the folder of a template, cloned if `template` is a URL.

    Raises:
        UsageError: it is not a template.
    """
    folder = Path(template).expanduser().resolve()
    if not folder.is_dir():
        folder = box / "template"
        git("clone", "-q", "--depth", "1", template, str(folder), where=box)
    if not (folder / "scripts" / "new_project.py").exists():
        raise UsageError(f"--template {template} is not a template: it has no scripts/new_project.py")
    return folder


def commit(rendered: Path, old: str, tree: Path) -> str:
    """Commit the rendered files on the branch, and return the commit; the user's working tree is not touched."""
    git("worktree", "add", "-q", "--detach", str(tree), old)
    try:
        for path in tree.iterdir():
            if path.name != ".git":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(rendered, tree, dirs_exist_ok=True)
        git("add", "--all", "--force", where=tree)
        if git("status", "--porcelain", where=tree):
            about = dict(line.split(": ", 1) for line in (tree / RECORD).read_text().splitlines() if ": " in line)
            message = f"Template {about['version']} ({about['commit']})\n\n{MADE}".replace('"', "")
            git(*author(), "commit", "-q", "--no-verify", "-m", message, where=tree)
        new = git("rev-parse", "HEAD", where=tree)
    finally:
        git("worktree", "remove", "--force", str(tree))
    git("update-ref", f"refs/heads/{BRANCH}", new, old)
    return new


def author() -> list[str]:
    """Return git options that name an author if the user has set none."""
    known = git("var", "GIT_COMMITTER_IDENT", check=False)
    return [] if known else ["-c", "user.name=template", "-c", "user.email=template@localhost"]


def say_edits(old: str) -> None:
    """Print which files of the engine the user has edited; they are merged, not replaced."""
    edited = git("diff", "--name-only", old, "HEAD", "--", "engine").splitlines()
    if edited:
        more = f" and {len(edited) - 5} more" if len(edited) > 5 else ""
        say(f"you edited the engine, so your edits are merged with the template's: {', '.join(edited[:5])}{more}")


def merge(new: str) -> None:
    """Merge the template's commit into the user's branch.

    Raises:
        RunError: both changed the same lines; the files hold git's conflict markers.
    """
    if git("merge-base", "--is-ancestor", new, "HEAD", check=False) or git("merge-base", new, "HEAD") == new:
        say(f"{git('branch', '--show-current')} is up to date")
        return
    try:
        git(*author(), "merge", "--no-edit", BRANCH)
    except RunError as error:
        both = git("diff", "--name-only", "--diff-filter=U").splitlines()
        if not both:
            raise
        raise RunError(
            f"you and the template changed the same lines of {', '.join(both)}: fix them there (git status), then git "
            "commit; or git merge --abort"
        ) from error
    say(f"merged    {git('diff', '--shortstat', 'HEAD~1', 'HEAD')}")
    say('next      pip install -e ".[dev]" && pytest')


if __name__ == "__main__":
    run_command(main)
