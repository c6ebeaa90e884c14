"""Updates of a project from a newer template: rendered to the branch `template`, and merged into the user's."""

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engine.errors import RunError, UsageError
from engine.template_branch import BRANCH, MADE, RECORD, git, identity
from engine.terminal import say


class Project:
    """A project made from a template, at `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def here(self, *arguments: str) -> str:
        """Return git's output in this project; raises what `git` does."""
        return git(self.root, *arguments).strip()

    def tried(self, *arguments: str) -> str:
        """Return git's output in this project, '' if it fails."""
        try:
            return self.here(*arguments)
        except UsageError:  # there is no git
            raise
        except RunError:
            return ""

    def update(self, template: str, changed_answers: Sequence[str]) -> None:
        """Merge a newer template, a folder or a URL; `changed_answers` are flags of new_project.py.

        Raises:
            UsageError: nothing was changed.
            RunError: there are conflicts, which git shows.
        """
        self.check()
        old = self.tip_of_branch()
        with tempfile.TemporaryDirectory(prefix="update-") as box:
            folder = checkout(template, Path(box))
            rendered = Path(box) / "rendered"
            program = [sys.executable, str(folder / "scripts" / "new_project.py"), str(rendered), "--files_only"]
            command = [*program, "--record", str(self.root / RECORD), *changed_answers]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise UsageError((done.stderr or done.stdout).strip().splitlines()[-1].removeprefix("error: "))
            new = self.commit(rendered, old, Path(box) / "tree")
        if new == old:
            say("nothing new: the branch `template` is up to date")
        self.say_edits(old)
        self.merge(new)

    def check(self) -> None:
        """Refuse a project that cannot be updated now.

        Raises:
            UsageError: says what to do first.
        """
        if not (self.root / RECORD).exists():
            raise UsageError(f"there is no {RECORD} here, so nothing to update: this was not made by new_project.py")
        if not self.tried("rev-parse", "--git-dir"):
            raise UsageError(
                f"{self.root} is no git repository, and updates are merged: git init, and commit all files"
            )
        changes = self.here("status", "--porcelain", "--untracked-files=no").splitlines()
        if changes:
            raise UsageError(f"there are uncommitted changes ({changes[0].split()[-1]} first): commit them")
        branch = self.here("branch", "--show-current")
        if not branch:
            raise UsageError("no branch is checked out, to merge the update into: git switch main")
        if branch == BRANCH:
            raise UsageError(f"the branch {BRANCH} belongs to the template: switch to your own, git switch main")

    def tip_of_branch(self) -> str:
        """Return the template's last commit; restore the branch if it is gone.

        Raises:
            UsageError: no commit in the history is the template's.
        """
        tip = self.tried("rev-parse", "--verify", "-q", BRANCH)
        if not tip:
            tip = self.here("log", "-1", "--all", "--format=%H", "--fixed-strings", f"--grep={MADE}")
            tip = tip or self.here("log", "-1", "--format=%H", "--diff-filter=A", "--", RECORD)
            if not tip:
                raise UsageError(f"the branch {BRANCH} is gone, and so are its commits: git fetch it from its remote")
            self.here("branch", BRANCH, tip)
            say(f"the branch {BRANCH} was gone, and is restored at {tip[:12]}")
        return tip

    def commit(self, rendered: Path, old: str, tree: Path) -> str:
        """Commit the rendered files on the branch, and return the commit; the user's working tree is not touched."""
        self.here("worktree", "prune")  # what an update that was killed has left
        self.here("worktree", "add", "-q", "--detach", str(tree), old)
        try:
            for path in tree.iterdir():
                if path.name != ".git":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            shutil.copytree(rendered, tree, dirs_exist_ok=True)
            git(tree, "add", "--all", "--force")
            if git(tree, "status", "--porcelain"):
                about = dict(line.split(": ", 1) for line in (tree / RECORD).read_text().splitlines() if ": " in line)
                message = f"Template {about['version']} ({about['commit']})\n\n{MADE}".replace('"', "")
                git(tree, *identity(self.root), "commit", "-q", "--no-verify", "-m", message)
            new = git(tree, "rev-parse", "HEAD").strip()
        finally:
            self.here("worktree", "remove", "--force", str(tree))
        self.here("update-ref", f"refs/heads/{BRANCH}", new, old)
        return new

    def say_edits(self, old: str) -> None:
        """Print which files of the engine the user has edited; they are merged, not replaced."""
        edited = self.here("diff", "--name-only", old, "HEAD", "--", "engine").splitlines()
        if edited:
            more = f" and {len(edited) - 5} more" if len(edited) > 5 else ""
            say(f"you edited the engine, so your edits are merged with the template's: {', '.join(edited[:5])}{more}")

    def merge(self, new: str) -> None:
        """Merge the template's commit into the user's branch.

        Raises:
            RunError: both changed the same lines; the files hold git's conflict markers.
        """
        if self.here("merge-base", new, "HEAD") == new:
            say(f"{self.here('branch', '--show-current')} is up to date")
            return
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # for git as well: half a merge cannot be aborted
        try:
            self.here(*identity(self.root), "merge", "--no-edit", BRANCH)
        except RunError as error:
            both = self.here("diff", "--name-only", "--diff-filter=U").splitlines()
            if not both:
                raise
            raise RunError(
                f"you and the template changed the same lines of {', '.join(both)}: fix them there (git status), then "
                "git commit; or git merge --abort"
            ) from error
        finally:
            signal.signal(signal.SIGINT, before)
        say(f"merged    {self.here('diff', '--shortstat', 'HEAD~1', 'HEAD')}")
        say('next      pip install -e ".[dev]" && pytest')


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
