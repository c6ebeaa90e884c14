"""Outlines say of every part what importing it says; what they cannot say is left to the import."""

import subprocess
import sys

import pytest

from engine.config import outlines
from engine.config.config import help_for, read_command_line
from engine.config.options import named, section_options
from engine.config.yaml_files import SECTIONS
from engine.contract.parts import hand_over, parts
from tests.tiny import ROOT


@pytest.fixture
def outlined():
    own = parts()
    hand_over(outlines.parts_in_source("project"))
    yield
    hand_over(own)


CHOICES = [(section, name) for section in SECTIONS for name in named(section)]


@pytest.mark.parametrize(("section", "name"), CHOICES)
def test_an_outline_has_the_parts_options(section, name, request):
    page, options = help_for(read_command_line([f"--{section}", name, "--help", "all"])), section_options(section, name)
    request.getfixturevalue("outlined")
    assert section_options(section, name) == options
    assert help_for(read_command_line([f"--{section}", name, "--help", "all"])) == page


def test_there_are_outlines_of_the_same_parts(outlined):
    assert [(section, name) for section in SECTIONS for name in named(section)] == CHOICES


MINE = """
import functools
from pathlib import Path
import other
from other import nn, wrap
from engine.contract.parts import Parts, hand_over

WIDTH = 8

class Net(nn.Module):
    def __init__(self, in_channels: int, width: int = WIDTH, norm: "nn.Module | None" = None, **more) -> None:
        raise AssertionError

class Small(Net):
    '''A net.

    Args:
        depth: how deep.
    '''
    def __init__(self, in_channels: int, depth: int = 2) -> None:
        other.fail()

class Both(Small, other.Mixin):
    pass

class Mixed(Small, other.Mixin):
    def __init__(self, in_channels: int) -> None: ...

class Heard(Small):
    input_type = other.SoundInput

def make(in_channels: int, width: int = 3) -> nn.Module: ...

hand_over(Parts({"small": Small, "half": functools.partial(make, width=4)}, None, {}, {}, {}, (), Path(__file__)))
"""


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--help"], 0, "--task classify         classify"),
        (["--task", "segment", "--help", "head"], 0, "--head.levels"),
        (["--acelerator", "gpu"], 2, "unknown option --acelerator; did you mean --accelerator?"),
        (["--batch-size", "3", "--config", "configs/fast.yaml"], 2, "--batch_size; here it is --data.batch_size"),
    ],
)
def test_help_and_a_misspelt_flag_do_without_torch(arguments, status, said):
    command = [sys.executable, "-X", "importtime", "scripts/train.py", *arguments]  # says what is imported
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == status and said in done.stdout + done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert "engine.config.config" in imported and not imported & {"torch", "lightning", "project"}


@pytest.mark.parametrize("arguments", [["--backbone", "resnet81", "--acelerator", "1"], ["--data", "docs", "--help"]])
def test_what_needs_the_project_waits_for_it(arguments):
    done = subprocess.run(
        [sys.executable, "-c", f"from engine.config import early as e; print(e.answered({arguments}, 'project'))"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes a project, named differently each time, as outlines are kept."""

    def write(text):
        name = f"mine_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    (tmp_path / "engine").symlink_to(ROOT / "engine")
    monkeypatch.setattr(outlines, "ROOT", tmp_path)
    return write


def test_a_project_is_read_without_running_it(write):
    name = write(MINE)
    own = outlines.parts_in_source(name)
    assert own.backbones["small"].__init__.__defaults__ == (2,) and "how deep" in own.backbones["small"].__doc__
    assert outlines.outline(name, "Mixed").__init__.__annotations__ == {"in_channels": int}
    assert own.backbones["half"].keywords == {"width": 4}
    assert own.defaults.name == f"{name}.py"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"small": Small', '"small": Net'),  # it hands options on to a class that is not seen
        ('"small": Small', '"small": Both'),  # one of its parents is not seen
        ("class Small(Net):", "@wrap\nclass Small(Net):"),
        ('"small": Small', '"small": Heard'),  # what its input asks for is not seen
        ("def make", "@wrap\ndef make"),
        ('{"small": Small,', '{name: Small for name in "ab"} | {'),
        ("hand_over(Parts(", "hand_over(other.parts("),
        ("hand_over(", "give("),
    ],
)
def test_what_the_source_does_not_say_is_left_to_the_import(write, old, new):
    assert old in MINE
    with pytest.raises(Exception):  # noqa: B017, any of them has the project imported
        outlines.parts_in_source(write(MINE.replace(old, new)))
