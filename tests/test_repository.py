"""The files of the top level that name commands: each file is one that its reader takes, and the commands are there."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from tests.tiny import ROOT

WORKFLOWS = sorted((ROOT / ".github").rglob("*.yml"))
NAMED = re.compile(r"(?<![\w/.-])(?:bash |python |pytest )?((?:scripts|tests|configs|\.ci)/[\w./-]+)")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_github_can_read_it(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for job in content.get("jobs", {}).values() if isinstance(content, dict) else ():
        assert job["timeout-minutes"] and job["steps"]
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])


@pytest.mark.parametrize("name", ["Makefile", "Dockerfile", ".devcontainer/devcontainer.json", *WORKFLOWS])
def test_the_files_that_commands_name_are_there(name):
    assert not [path for path in NAMED.findall(read(name)) if not (ROOT / path).exists()]


def test_the_container_of_an_editor_is_built_from_the_dockerfile():
    build = json.loads(read(".devcontainer/devcontainer.json"))["build"]
    place = ROOT / ".devcontainer"
    assert (place / build["dockerfile"]).resolve() == ROOT / "Dockerfile" and (
        place / build["context"]
    ).resolve() == ROOT
    copied = re.findall(r"^COPY (.+) \S+$", read("Dockerfile"), re.MULTILINE)
    assert copied and all((ROOT / path).exists() for line in copied for path in line.split())


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_knows_its_targets():
    targets = re.findall(r"^\.PHONY: (.+)$", read("Makefile"), re.MULTILINE)[0].split()
    done = subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == len(targets) == 5
