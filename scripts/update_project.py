"""Update a project made from the template to a newer template: its changes are merged, yours stay.

python scripts/update_project.py --template ../template
python scripts/update_project.py --template ../template --tasks classify,segment

The newer template renders your answers (.template.yaml) to the branch `template`, which is merged into yours.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from engine.errors import RunError, UsageError
from engine.start import run_command
from engine.template_branch import BRANCH, MADE, RECORD, git, identity
from engine.terminal import say

ROOT = Path(__file__).resolve().parents[1]


def here(*arguments: str) -> str:
    """Return git's output in this project; raises what `git` does."""
    return git(ROOT, *arguments).strip()


def tried(*arguments: str) -> str:
    """Return git's output in this project, '' if it fails."""
    try:
        return here(*arguments)
    except RunError:
        return ""


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
    if not tried("rev-parse", "--git-dir"):
        raise UsageError(f"{ROOT} is not a git repository, and updates are merged: git init, and commit all files")
    changes = here("status", "--porcelain", "--untracked-files=no").splitlines()
    if changes:
        raise UsageError(f"there are uncommitted changes ({changes[0].split()[-1]} first): commit them")
    if here("branch", "--show-current") == BRANCH:
        raise UsageError(f"the branch {BRANCH} belongs to the template: switch to your own, git switch main")


def tip_of_branch() -> str:
    """Return the template's last commit; restore the branch if it is gone.

    Raises:
        UsageError: no commit in the history is the template's.
    """
    tip = tried("rev-parse", "--verify", "-q", BRANCH)
    if not tip:
        tip = here("log", "-1", "--all", "--format=%H", "--fixed-strings", f"--grep={MADE}")
        tip = tip or here("log", "-1", "--format=%H", "--diff-filter=A", "--", RECORD)
        if not tip:
            raise UsageError(f"the branch {BRANCH} is gone, and so are its commits: git fetch it from its remote")
        here("branch", BRANCH, tip)
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
        git(box, "clone", "-q", "--depth", "1", template, str(folder))
    if not (folder / "scripts" / "new_project.py").exists():
        raise UsageError(f"--template {template} is not a template: it has no scripts/new_project.py")
    return folder


def commit(rendered: Path, old: str, tree: Path) -> str:
    """Commit the rendered files on the branch, and return the commit; the user's working tree is not touched."""
    here("worktree", "add", "-q", "--detach", str(tree), old)
    try:
        for path in tree.iterdir():
            if path.name != ".git":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(rendered, tree, dirs_exist_ok=True)
        git(tree, "add", "--all", "--force")
        if git(tree, "status", "--porcelain"):
            about = dict(line.split(": ", 1) for line in (tree / RECORD).read_text().splitlines() if ": " in line)
            message = f"Template {about['version']} ({about['commit']})\n\n{MADE}".replace('"', "")
            git(tree, *identity(ROOT), "commit", "-q", "--no-verify", "-m", message)
        new = git(tree, "rev-parse", "HEAD").strip()
    finally:
        here("worktree", "remove", "--force", str(tree))
    here("update-ref", f"refs/heads/{BRANCH}", new, old)
    return new


def say_edits(old: str) -> None:
    """Print which files of the engine the user has edited; they are merged, not replaced."""
    edited = here("diff", "--name-only", old, "HEAD", "--", "engine").splitlines()
    if edited:
        more = f" and {len(edited) - 5} more" if len(edited) > 5 else ""
        say(f"you edited the engine, so your edits are merged with the template's: {', '.join(edited[:5])}{more}")


def merge(new: str) -> None:
    """Merge the template's commit into the user's branch.

    Raises:
        RunError: both changed the same lines; the files hold git's conflict markers.
    """
    if here("merge-base", new, "HEAD") == new:
        say(f"{here('branch', '--show-current')} is up to date")
        return
    try:
        here(*identity(ROOT), "merge", "--no-edit", BRANCH)
    except RunError as error:
        both = here("diff", "--name-only", "--diff-filter=U").splitlines()
        if not both:
            raise
        raise RunError(
            f"you and the template changed the same lines of {', '.join(both)}: fix them there (git status), then git "
            "commit; or git merge --abort"
        ) from error
    say(f"merged    {here('diff', '--shortstat', 'HEAD~1', 'HEAD')}")
    say('next      pip install -e ".[dev]" && pytest')


if __name__ == "__main__":
    run_command(main)
