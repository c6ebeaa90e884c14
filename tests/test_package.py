"""The project as an installed package, away from its checkout: console commands, and all files that they need."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv

import pytest

from engine import start, terminal
from tests.own_data import write_class_folders
from tests.tiny import PATIENCE, ROOT, write_tiny

NAMES = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
PACKAGE = next(iter(NAMES)).partition("-")[0]
# What only a checkout has a use for.
OF_THE_CHECKOUT = {"benchmark", "new_project", "new_part", "update_project"}


def test_every_script_has_a_console_command():
    scripts = {path.stem for path in (ROOT / "scripts").glob("*.py")} - OF_THE_CHECKOUT
    assert {f"{PACKAGE}-{script.replace('_', '-')}": "engine.start:console" for script in scripts} == NAMES


def test_a_console_command_runs_its_script_and_names_others_as_it_was_named(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "console", "")
    monkeypatch.setattr(sys, "argv", ["/elsewhere/mine-check-data", "--help"])
    assert terminal.script_command("check_data") == "python scripts/check_data.py"
    with pytest.raises(SystemExit):
        start.console()
    assert "usage: check_data.py" in capsys.readouterr().out
    assert terminal.script_command("check_data") == "mine-check-data"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Build a wheel and install it into an environment that finds the other packages where they are; return bin/."""
    installed = {name.lower() for name in importlib.metadata.packages_distributions()}
    if not {"pip", "setuptools"} <= installed:  # not by find_spec: see project/data/mnist_files.py
        pytest.skip("this environment has no pip, or no setuptools")
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"  # what tools leave in a checkout stays behind
    for name in (PACKAGE, "engine", "benchmarks", "scripts", "configs"):
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "requirements.txt", "README.md"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", str(source), "--no-deps", "--no-build-isolation", "-w", str(folder)], check=True, cwd=folder
    )
    shutil.rmtree(source)
    place = folder / "venv"
    venv.create(place, with_pip=False, symlinks=os.name != "nt")
    paths = sysconfig.get_paths("venv", vars={"base": str(place), "platbase": str(place)})
    python = os.path.join(paths["scripts"], "python")
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", str(wheel)], check=True, cwd=folder)
    with open(os.path.join(paths["purelib"], "others.pth"), "w", encoding="utf-8") as file:
        file.write(sysconfig.get_path("purelib") + "\n")
    return paths["scripts"]


@pytest.mark.slow
def test_elsewhere_it_trains_and_answers(installed, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {f"{PACKAGE.upper()}_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}

    def execute(name, *arguments):
        command = [os.path.join(installed, name), *map(str, arguments)]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    images = write_class_folders(tmp_path / "images")
    assert f"{PACKAGE}-train --data" in execute(f"{PACKAGE}-check-data", images)
    options = ["--data", "images", "--data.image_size", 32, "--max_epochs", 1, "--wandb", "disabled", "--name"]
    said = execute(f"{PACKAGE}-train", *options, "a", "--devices", 2, "--strategy", "ddp", "--accelerator", "cpu")
    run = tmp_path / "home" / "checkpoints" / "a"
    assert f"{PACKAGE}-predict {run}" in said and (run / "report.html").stat().st_size > 10_000
    assert "red" in execute(f"{PACKAGE}-predict", run / "best.ckpt", "images/red")
    execute("python", "-m", f"{PACKAGE}.train", *options, "b")
    assert (tmp_path / "home" / "checkpoints" / "b" / "last.ckpt").exists()
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.slow
def test_in_a_checkout_the_package_runs_the_scripts_as_well(tmp_path):
    write_tiny(tmp_path / "data")
    command = [sys.executable, "-m", f"{PACKAGE}.train", "--help"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "--max_epochs" in done.stdout
