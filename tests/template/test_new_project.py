"""scripts/new_project.py and scripts/update_project.py as programs: what they make, refuse and leave behind."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.template_branch import git
from scripts import new_project
from template import command
from template.answers import Answers, check_package, read_record
from template.checkout import start_history, whole
from tests.template.test_render import template_tree
from tests.tiny import ROOT

AUTHOR = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}


def run(folder: Path, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script of the template or project at `folder`, and with its engine."""
    program = [sys.executable, str(folder / "scripts" / f"{script}.py"), *map(str, arguments)]
    variables = {**os.environ, **AUTHOR, "PYTHONPATH": str(folder)}
    return subprocess.run(program, cwd=folder, env=variables, capture_output=True, text=True, check=False)


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all", "--force")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", message)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of this template, with all that is not committed yet."""
    folder = tmp_path_factory.mktemp("template") / "template"
    for path, data in template_tree().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    git(folder, "init", "-q", "-b", "main")
    commit(folder, "all")
    return folder


@pytest.fixture(scope="module")
def original(template: Path) -> Path:
    """A project of the template's, which tests copy."""
    made = run(template, "new_project", template.parent / "cellcount", "--tasks", "classify", "--without", "demo,ci")
    assert made.returncode == 0, made.stderr
    return template.parent / "cellcount"


@pytest.fixture
def project(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "cellcount"))


def test_a_project_starts_with_one_commit_on_two_branches(original):
    assert git(original, "branch", "--format=%(refname:short)").split() == ["main", "template"]
    assert git(original, "rev-list", "--all", "--count").strip() == "1"
    assert git(original, "status", "--porcelain") == "" and (original / "checkpoints" / "README.md").exists()
    assert read_record((original / ".template.yaml").read_text()) == Answers("cellcount", "classify", "all", "demo,ci")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("2x", "expected lower-case letters"),
        ("class", "a word of Python's"),
        ("match", "a word of Python's"),
        ("statistics", "a module of Python"),
        ("torch", "torch has a module of that name"),
        ("tests", "another folder has that name"),
        ("engine", "another folder has that name"),
    ],
)
def test_names_that_no_package_can_have_are_refused(name, message):
    with pytest.raises(UsageError, match=message):
        check_package(name)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tasks", "clasify"], "there is no 'clasify'; did you mean classify?"),
        (["--tasks", ","], "--tasks: choose at least one of classify"),
        (["--backbones", "resnet"], "--backbones: there is no 'resnet'"),
        (["--without", "demos"], "--without: there is no 'demos'; did you mean demo?"),
        (["--record", "/nowhere/.template.yaml"], "/nowhere/.template.yaml: No such file"),
        (["--unknown"], "unrecognized arguments: --unknown"),
    ],
)
def test_wrong_answers_are_one_line_and_leave_nothing(template, tmp_path, flags, message):
    done = run(template, "new_project", tmp_path / "cellcount", *flags)
    assert done.returncode in (1, 2) and done.stderr.count("\n") == 1 and message in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_targets_where_no_project_can_be_are_refused(template, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "file").touch()
    for target, message in [
        (template / "mine", "is inside the template"),
        (tmp_path / "full", "is there already, and not an empty folder"),
        (tmp_path / "file", "is there already"),
        (tmp_path / "none" / "mine", "is no folder: make it first"),
    ]:
        done = run(template, "new_project", target, "--tasks", "classify", "--package", "mine")
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and message in done.stderr
    assert (
        run(template, "new_project").stderr
        == "error: expected the new project's folder, as in new_project.py ../cellcount\n"
    )


@pytest.mark.slow
def test_changes_that_are_not_committed_are_said_and_taken_along_if_asked(template, tmp_path):
    (template / "NOTES.md").write_text("# Notes\n")
    try:
        done = run(template, "new_project", tmp_path / "mine", "--dry_run")
        assert done.returncode == 2 and "1 files, NOTES.md first" in done.stderr
        done = run(template, "new_project", tmp_path / "mine", "--with_changes", "--files_only")
        assert done.returncode == 0 and (tmp_path / "mine" / "NOTES.md").exists()
        assert " and changes" in (tmp_path / "mine" / ".template.yaml").read_text()
    finally:
        (template / "NOTES.md").unlink()


@pytest.mark.slow
def test_a_dry_run_names_what_goes_and_writes_nothing(template, tmp_path):
    done = run(template, "new_project", tmp_path / "mine", "--tasks", "classify", "--dry_run")
    assert (
        done.returncode == 0
        and "project/tasks/detector.py, " in done.stdout
        and "keeps     tasks classify" in done.stdout
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_on_a_terminal_it_asks_for_what_no_flag_says(template, tmp_path, monkeypatch, capsys):
    answers = iter([str(tmp_path / "my-cells"), "", "classify", "cnn", "demo"])
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or next(answers))
    command.new_project(["--dry_run"], template)
    assert len(asked) == 5 and asked[1] == "package [my_cells]: "
    assert "keeps     tasks classify; heads dense; backbones cnn; data mnist" in capsys.readouterr().out


def test_a_failure_in_the_middle_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole(tmp_path / "mine") as box:
        (box / "file").touch()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_without_git_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="git is not installed"):
        start_history(tmp_path, "all")


@pytest.mark.slow
def test_an_update_is_merged_and_what_was_pruned_stays_pruned(template, project):
    """Edits of a table, of the README and of the engine; the template changes the same files elsewhere."""
    heads = project / "cellcount" / "heads"
    (heads / "spotlight.py").write_text('"""A head of our own."""\n')
    with (heads / "__init__.py").open("a") as file:
        file.write("\nimport cellcount.heads.spotlight  # noqa: E402, F401\n")
    for path, before, after in [
        (project / "README.md", "# cellcount\n", "# Counting cells\n\nOurs.\n"),
        (project / "engine" / "terminal.py", '"""', '"""Edited. '),
    ]:
        path.write_text(path.read_text().replace(before, after, 1))
    commit(project, "ours")
    newer = project.parent / "newer"
    git(project.parent, "clone", "-q", str(template), str(newer))
    for name in ("project/heads/dense.py", "project/heads/yolox.py", "engine/terminal.py"):
        path = newer / name
        path.write_text(path.read_text() + "\n\nNEWER = 1\n")
    git(newer, "mv", "project/callbacks.py", "project/own_callbacks.py")
    (newer / "README.md").write_text((newer / "README.md").read_text() + "\nNewer.\n")
    commit(newer, "newer")
    done = run(project, "update_project", "--template", newer)
    assert done.returncode == 0, done.stderr
    assert "you edited the engine" in done.stdout and "engine/terminal.py" in done.stdout
    assert (heads / "dense.py").read_text().endswith("NEWER = 1\n") and not (heads / "yolox.py").exists()
    assert "spotlight" in (heads / "__init__.py").read_text() and (heads / "spotlight.py").exists()
    readme = (project / "README.md").read_text()
    assert "# Counting cells" in readme and "Newer." in readme
    engine = (project / "engine" / "terminal.py").read_text()
    assert engine.startswith('"""Edited. ') and engine.endswith("NEWER = 1\n")
    callbacks = [path.name for path in (project / "cellcount").glob("*callbacks.py")]
    assert callbacks == ["own_callbacks.py"]
    assert git(project, "status", "--porcelain") == "" and git(project, "worktree", "list").count("\n") == 1
    again = run(project, "update_project", "--template", newer)
    assert again.returncode == 0 and "nothing new" in again.stdout
    more = run(project, "update_project", "--template", newer, "--tasks", "classify,detect")
    assert more.returncode == 0 and (heads / "yolox.py").exists() and (heads / "spotlight.py").exists(), more.stderr


@pytest.mark.slow
def test_a_file_that_git_does_not_know_is_not_overwritten_but_named(template, project):
    newer = project.parent / "newer"
    git(project.parent, "clone", "-q", str(template), str(newer))
    for folder in (newer, project):
        (folder / "NOTES.md").write_text(f"# {folder.name}\n")
    commit(newer, "newer")
    done = run(project, "update_project", "--template", newer)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "NOTES.md" in done.stderr
    assert (project / "NOTES.md").read_text() == "# cellcount\n" and git(project, "status", "-s") == "?? NOTES.md\n"
    (project / "NOTES.md").unlink()
    again = run(project, "update_project", "--template", newer)
    assert again.returncode == 0 and (project / "NOTES.md").read_text() == "# newer\n"


@pytest.mark.slow
def test_lines_changed_by_both_are_conflicts_of_git_and_a_lost_branch_is_made_again(template, project):
    path = project / "cellcount" / "callbacks.py"
    path.write_text(path.read_text().replace("    return []", "    return [mine]"))
    commit(project, "ours")
    git(project, "branch", "-D", "template")
    newer = project.parent / "newer"
    git(project.parent, "clone", "-q", str(template), str(newer))
    path = newer / "project" / "callbacks.py"
    path.write_text(path.read_text().replace("    return []", "    return [theirs]"))
    commit(newer, "newer")
    done = run(project, "update_project", "--template", newer)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "the branch template was gone" in done.stdout and "cellcount/callbacks.py: fix them" in done.stderr
    assert "<<<<<<<" in (project / "cellcount" / "callbacks.py").read_text()


def test_updates_that_cannot_be_are_refused(template, project, tmp_path):
    program = [sys.executable, str(project / "scripts" / "update_project.py"), "--template", str(template)]
    for arguments, path, message in (
        (program, str(tmp_path), "error: git is not installed, or not on PATH"),
        (program[:2], os.environ["PATH"], "error: the following arguments are required: --template"),
    ):
        variables = {**os.environ, "PYTHONPATH": str(project), "PATH": path}
        done = subprocess.run(arguments, cwd=project, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and done.stderr.startswith(message) and done.stderr.count("\n") == 1
    assert "is not a template: it has no scripts" in run(project, "update_project", "--template", tmp_path).stderr
    assert "there is no .template.yaml here" in run(template, "update_project", "--template", template).stderr
    git(project, "switch", "-q", "template")
    assert "switch to your own" in run(project, "update_project", "--template", template).stderr
    git(project, "switch", "-q", "--detach", "main")
    assert "no branch is checked out" in run(project, "update_project", "--template", template).stderr
    git(project, "switch", "-q", "main")
    (project / "README.md").write_text("changed")
    done = run(project, "update_project", "--template", template)
    assert done.returncode == 2 and "uncommitted changes (README.md first)" in done.stderr
    assert new_project.ROOT == ROOT
