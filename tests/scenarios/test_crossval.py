"""K-fold cross-validation: a run per fold, continued where it was stopped, and the mean of their measures."""

import math
import os
import re
import signal
import time
from pathlib import Path

import pytest

from engine.errors import RunError, Stopped, UsageError
from engine.inference import evaluate
from engine.report.comparison import mean_and_deviation
from engine.resume.checkpoint_file import read_checkpoint
from engine.training import crossval
from scripts import train
from tests.own_data import WRITERS, write_class_folders
from tests.runs import Cut, cut_after, read_summary, same
from tests.tiny import PATIENCE, start_script

QUICK = ["--wandb", "disabled", "--precision", "32-true", "--data.image_size", "48", "--data.batch_size", "6"]
QUICK += ["--backbone.widths", "8,16,16", "--backbone.kernel_size", "3", "--max_epochs", "2", "--data.num_workers", "0"]


@pytest.fixture(autouse=True)
def _(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(crossval, "train", lambda flags: train.main([*flags]) or 0)  # in this process


def run(*arguments):
    crossval.main(["own", *QUICK, *map(str, arguments)])


TASKS = [pytest.param(task, marks=[pytest.mark.slow] if i else []) for i, task in enumerate(WRITERS)]


@pytest.mark.parametrize("task", TASKS)
def test_each_part_is_tested_by_a_run_that_has_not_seen_it_and_the_mean_is_said(task, capsys):
    WRITERS[task](Path("own"))
    run("--folds", 3, "--name", "a", "--max_epochs", 1, "--task", task)
    said = capsys.readouterr().out
    tested = []
    for i in (1, 2, 3):
        files = read_checkpoint(f"checkpoints/a-fold-{i}/last.ckpt")["FolderDataModule"]["files"]
        names = {split: set(entry["names"].tolist()) for split, entry in files.items()}
        assert {split: len(own) for split, own in names.items()} == {"train": 11, "val": 5, "test": 8}
        assert not names["test"] & (names["train"] | names["val"])
        tested += names["test"]
    assert len(tested) == len(set(tested)) == 24
    values = [read_summary(f"a-fold-{i}")["metrics"]["test/loss"] for i in (1, 2, 3)]
    mean, deviation = sum(values) / 3, math.sqrt(sum((v - sum(values) / 3) ** 2 for v in values) / 2)
    assert re.search(rf"(?m)^test/loss +{re.escape(f'{mean:.4g} ± {deviation:.2g}')}$", said)
    page = Path("checkpoints/a-folds.html").read_text(encoding="utf-8")
    assert "mean ± sd" in page and f'<td class="number">{mean:.4g} ± {deviation:.2g}</td>' in page


@pytest.mark.task("classify")
def test_a_fold_that_was_killed_goes_on_where_it_was_and_finished_ones_are_left_alone(monkeypatch, capsys):
    write_class_folders(Path("own"))
    own, calls = crossval.train, []

    def cut_in_the_second(flags):
        calls.append(flags)
        if len(calls) < 2:
            return own(flags)
        with cut_after(1):
            own(flags)
        raise Cut

    monkeypatch.setattr(crossval, "train", cut_in_the_second)
    with pytest.raises(Cut):
        run("--folds", 2, "--name", "a")
    first = Path("checkpoints/a-fold-1/last.ckpt").stat().st_mtime_ns
    monkeypatch.setattr(crossval, "train", own)
    run("--folds", 2, "--name", "a")
    said = capsys.readouterr().out
    assert "run a-fold-1 is finished after 2 epochs" in said and "1 epochs, 2 steps done" in said
    assert Path("checkpoints/a-fold-1/last.ckpt").stat().st_mtime_ns == first
    train.main(["--data", "own", *QUICK, "--data.fold", "2/2", "--name", "whole"])
    whole, cut = (read_checkpoint(f"checkpoints/{name}/last.ckpt") for name in ("whole", "a-fold-2"))
    whole["run"]["config"]["wandb_group"] = "a"
    assert same(whole, cut) and read_summary("whole")["metrics"] == read_summary("a-fold-2")["metrics"]


@pytest.mark.task("classify")
def test_runs_of_other_settings_or_files_are_not_mixed_with_it():
    write_class_folders(Path("own"))
    run("--folds", 2, "--max_epochs", 1)
    run("--folds", 2, "--max_epochs", 1, "--data.num_workers", 1)  # which changes nothing
    with pytest.raises(UsageError, match=r"^checkpoints/classify-own-cnn-fold-1 has other settings \(max_epochs 1\)"):
        run("--folds", 2)
    with pytest.raises(UsageError, match=r"fold-1 has other settings \(data.fold 1/2\): give the same flags, or anot"):
        run("--folds", 3, "--max_epochs", 1)
    Path("own").rename("before")
    write_class_folders(Path("own"), num=25)
    with pytest.raises(UsageError, match=r"own has other files than .*-fold-1 was trained on \(1 new .*: give another"):
        run("--folds", 2, "--max_epochs", 1)
    write_class_folders(Path("x/own"))
    with pytest.raises(UsageError, match=r"fold-1 has other settings \(data own\)"):
        crossval.main(["x/own", *QUICK, "--folds", "2", "--max_epochs", "1"])


@pytest.mark.task("classify")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected one folder, got 0"),
        (["own"], "--folds is the number of parts, 2 or more, such as 5, got none"),
        (["own", "--folds", "1"], "--folds is the number of parts, 2 or more, such as 5, got 1"),
        (["own", "--folds", "-5"], "got -5"),
        (["own", "--folds", "9"], "9 folds need an image of class blue each, and it has 8"),
        (["own", "--folds", "25"], "25 folds of 24 images"),
        (["nowhere", "--folds", "2"], "unknown data 'nowhere'"),
        (["./nowhere", "--folds", "2"], "there is no folder nowhere"),
        (["mnist", "--folds", "2"], "mnist has test images of its own"),
        (["split", "--folds", "2"], r"its own split \(12 train, 6 val, 6 test\): put all images into one"),
        (["own", "--folds", "2", "--data", "own"], "takes no --data: the folder is its first argument"),
        (["own", "--folds", "2", "--data.fold", "1/2"], "takes no --data.fold: it trains all folds"),
        (["own", "--folds", "2", "--data.test_size", "0.2"], "fold 1/2 chooses the test images"),
        (["own", "--folds", "2", "--fast_dev_run"], "--fast_dev_run keeps nothing to take a mean of"),
        (["own", "--folds", "2", "--ckpt_path", "last"], "takes no --ckpt_path: the same command continues"),
        (["own", "--folds", "2", "--max_epoch", "2"], "did you mean --max_epochs"),
        (["own", "--folds", "2", "--name"], "--name needs a name"),
    ],
)
def test_what_has_no_folds_is_refused_before_anything_is_written(arguments, message):
    write_class_folders(Path("own"))
    write_class_folders(Path("split"), split=True)
    with pytest.raises(UsageError, match=message) as caught:
        crossval.main(arguments)
    assert "\n" not in str(caught.value) and not Path("checkpoints").exists()


@pytest.mark.task("classify")
@pytest.mark.parametrize(("status", "error"), [(1, RunError), (2, RunError), (143, Stopped), (-9, Stopped)])
def test_a_fold_that_fails_ends_it_with_the_same_status(monkeypatch, status, error):
    write_class_folders(Path("own"))
    monkeypatch.setattr(crossval, "train", lambda flags: status)
    with pytest.raises(error) as caught:
        run("--folds", 2)
    assert caught.value.status == (137 if status == -9 else status)


@pytest.mark.task("classify")
def test_a_folds_checkpoint_is_of_this_fold_only(capsys):
    write_class_folders(Path("own"))
    train.main(["--data", "own", *QUICK, "--data.fold", "2/3", "--name", "a"])
    capsys.readouterr()
    tested = f"test/loss      {read_summary('a')['metrics']['test/loss']:.4g}\n"
    evaluate.main(["checkpoints/a/best.ckpt"])
    said = capsys.readouterr().out
    assert "8 test images" in said and tested in said
    with pytest.raises(UsageError, match="--data.fold follows from the checkpoint: leave it out"):
        evaluate.main(["checkpoints/a/best.ckpt", "--data.fold", "1/3"])
    with pytest.raises(UsageError, match="run a has fold 2/3, not 1/3: resume it as it is, or start a new run"):
        train.main(["--ckpt_path", "checkpoints/a/last.ckpt", "--data.fold", "1/3"])
    Path("own").rename("moved")
    evaluate.main(["checkpoints/a/best.ckpt", "--data", "moved"])
    said = capsys.readouterr().out
    assert "moved, 8 test images" in said and tested in said
    write_class_folders(Path("other"), num=12, split=True)
    evaluate.main(["checkpoints/a/best.ckpt", "--data", "other"])
    assert "other, 3 test images" in capsys.readouterr().out


def test_a_deviation_is_that_of_a_sample():
    assert mean_and_deviation("test/acc", [0.8, 0.9, 1.0]) == "90.00 ± 10.00 %"
    assert mean_and_deviation("test/loss", [1.0, 2.0, None]) == "1.5 ± 0.71 (2 of 3 have a value)"
    assert mean_and_deviation("test/map", [None, None]) == "no value"


@pytest.mark.task("classify")
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_stops_the_fold_as_well_and_the_same_command_goes_on(number):
    write_class_folders(Path("own"))
    command = ["own", *QUICK, "--folds", "2", "--name", "a", "--max_epochs", "40"]
    with start_script("crossval", *command, cwd=Path()) as process:
        try:
            until = time.monotonic() + PATIENCE
            while not Path("checkpoints/a-fold-1/last.ckpt").exists():
                assert process.poll() is None and time.monotonic() < until
                time.sleep(0.1)
            process.send_signal(number)
            said = process.communicate(timeout=PATIENCE)[0]  # at its end, so the fold's process has ended, too
        finally:
            process.kill()
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGKILL)
    if number == signal.SIGTERM:
        assert "stopped   the same command continues from there" in said
        assert read_summary("a-fold-1")["status"] == "stopped"
    assert not Path("checkpoints/a-fold-2").exists()
    crossval.main(command)
    assert all(read_summary(f"a-fold-{i}")["status"] == "finished" for i in (1, 2))
