import shutil
import subprocess

import pytest

from engine.training.summary import git_state


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_asking_git_runs_nothing_that_the_folder_names(tmp_path, monkeypatch):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        subprocess.run(["git", *who, *arguments], check=True, capture_output=True, cwd=folder)

    def mark(name):
        return f"touch '{tmp_path / name}'; cat"

    folder = tmp_path / "repository"
    folder.mkdir()
    git("init")
    (folder / "a.txt").write_text("a")
    (folder / ".gitattributes").write_text("* filter=odd=name\n")
    git("add", "--all")
    git("commit", "-m", "a")
    git("config", "core.fsmonitor", mark("monitor"))
    git("config", "filter.odd=name.clean", mark("filter"))
    hook = folder / ".git" / "hooks" / "post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{mark('hook')}\n")
    hook.chmod(0o755)
    (folder / "a.txt").write_text("a")  # as it was, but written later: git looks into it
    monkeypatch.chdir(folder)
    state = git_state()
    assert state is not None and len(state["commit"]) >= 40 and state["changed"] is False
    (folder / "a.txt").write_text("b")
    assert git_state()["changed"] is True
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]
    git("status")
    assert len(list(tmp_path.iterdir())) > 1  # so there was something to run


def test_outside_of_a_repository_there_is_no_state(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert git_state() is None
