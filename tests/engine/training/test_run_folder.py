"""A run's folder: who may write to it, what it is called, when it is removed again."""

import multiprocessing
import signal
import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest

from engine.config.config import recorded
from engine.errors import RunError, UsageError
from engine.inference import evaluate
from engine.training import run_folder as folders
from engine.training import runs
from project.data.mnist import MNISTDataModule
from scripts import train
from tests.own_data import write_class_folders
from tests.runs import read_summary, run, same

CONFIG = {
    "name": None,
    "resume": None,
    "fast_dev_run": False,
    **{section: {"name": section} for section in ("task", "data", "backbone")},
}


def hold(ready):
    """Claim run `a` and keep it."""
    folder = folders.RunFolder(Path("checkpoints/a"))
    ready.send(folder.claim())
    signal.pause()


@pytest.fixture(autouse=True)
def _(workplace):
    pass


@pytest.fixture
def holder():
    """Another process that trains run `a`."""
    context = multiprocessing.get_context("fork")
    ready, answer = context.Pipe(duplex=False)
    process = context.Process(target=hold, args=[answer])
    process.start()
    assert ready.recv()
    yield process
    process.kill()
    process.join()


@pytest.mark.skipif(sys.platform == "win32", reason="processes are not forked there")
def test_a_run_that_is_being_trained_is_not_gone_on_with_until_its_process_is_dead(request):
    run("--name", "a", "--max_epochs", 1)
    files = {path: path.read_bytes() for path in Path("checkpoints/a").glob("*.*")}
    process = request.getfixturevalue("holder")
    with pytest.raises(UsageError, match="^run a is being trained by another process") as caught:
        train.main(["--ckpt_path", "last", "--max_epochs", "2"])
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="--name a is taken"):
        run("--name", "a")
    assert files == {path: path.read_bytes() for path in Path("checkpoints/a").glob("*.*")}
    process.kill()
    process.join()
    train.main(["--ckpt_path", "last", "--max_epochs", "2"])
    assert read_summary("a")["epochs"] == 2


def test_a_run_holds_its_folder_while_it_trains_and_no_longer(monkeypatch):
    held = []
    fit = pl.Trainer.fit

    def noted(self, *arguments, **options):
        held.append(folders.RunFolder(Path("checkpoints/a")).claim())
        fit(self, *arguments, **options)

    monkeypatch.setattr(pl.Trainer, "fit", noted)
    run("--name", "a", "--max_epochs", 1)
    train.main(["--ckpt_path", "last", "--max_epochs", "2"])
    assert held == [False, False] and folders.RunFolder(Path("checkpoints/a")).claim()


def test_a_state_that_was_replaced_since_it_was_read_is_not_gone_on_from(monkeypatch):
    run("--name", "a", "--max_epochs", 1)
    build = runs.build

    def late(asked):
        with monkeypatch.context() as patch:
            patch.setattr(runs, "build", build)
            train.main(["--ckpt_path", "last", "--max_epochs", "2"])
        return build(asked)

    monkeypatch.setattr(runs, "build", late)
    with pytest.raises(RunError, match=r"another process, now ended, replaced .*last.ckpt while"):
        train.main(["--ckpt_path", "last", "--max_epochs", "3"])
    assert read_summary("a")["epochs"] == 2


def test_unnamed_runs_of_one_second_get_names_of_their_own(monkeypatch):
    monkeypatch.setattr(folders.time, "strftime", lambda form: "now")
    found = [folders.claim_folder(CONFIG, None) for _ in range(6)]
    assert [folder.name for folder in found] == [
        "task-data-backbone-now",
        *(f"task-data-backbone-now-{i}" for i in range(2, 7)),
    ]


def test_paths_of_data_are_those_of_the_folder_that_the_run_was_started_in(workplace, monkeypatch):
    for name in ("own", "elsewhere"):
        (workplace / name).mkdir()
    (workplace / "own.csv").touch()
    monkeypatch.chdir(workplace / "elsewhere")
    checkpoint = workplace / "checkpoints" / "a" / "last.ckpt"
    for name, found in (("own", str(workplace / "own")), ("./gone", "./gone"), ("mnist", "mnist"), ("/own", "/own")):
        config = {"data": {"name": name, "root": "data", "labels": "own.csv"}, "seed": 3}
        assert recorded(config, checkpoint) == {
            "data.name": found,
            "data.root": str(workplace / "data"),
            "data.labels": str(workplace / "own.csv"),
            "seed": 3,
        }
        assert recorded(config, "last.ckpt") == {
            "data.name": name,
            "data.root": "data",
            "data.labels": "own.csv",
            "seed": 3,
        }


def broken(folder):
    for path in folder.rglob("*.png"):
        path.write_bytes(b"no image")


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK"])
@pytest.mark.usefixtures("workplace")
def test_a_rank_left_in_the_environment_lets_no_run_train_silently_into_the_folder_of_another(monkeypatch, name):
    run("--name", "a")
    before = Path("checkpoints/a/last.ckpt").read_bytes()
    monkeypatch.setenv(name, "1")
    with pytest.raises(
        UsageError, match=f"{name}=1 in the environment contradicts that this is the run's main process"
    ):
        run("--name", "a", "--seed", "1")
    assert Path("checkpoints/a/last.ckpt").read_bytes() == before
    with pytest.raises(
        UsageError, match=f"{name}=1 in the environment contradicts that this is the run's main process"
    ):
        evaluate.main(["checkpoints/a/best.ckpt"])


@pytest.mark.parametrize("name", [["--name", "a"], []])
@pytest.mark.parametrize(
    "where",
    [(runs.Run, "start"), (runs, "open_tracker"), (MNISTDataModule, "prepare_data"), (pl.Trainer, "fit")],
    ids=lambda where: where[1],
)
def test_a_run_that_failed_before_training_leaves_no_name_taken(monkeypatch, where, name):
    def fail(*arguments, **options):
        raise ZeroDivisionError

    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(*where, fail)
        run(*name)
    left = [read_summary(path.name)["status"] for path in Path("checkpoints").glob("*")]
    assert left == (["failed"] if where[1] == "fit" else [])
    run(*name)


@pytest.mark.task("classify")
def test_a_run_whose_first_batch_cannot_be_read_can_be_started_again_under_its_name(capsys):
    broken(write_class_folders(Path("own")))
    command = ["--data", "own", "--data.image_size", 32, "--name", "a", "--max_epochs", 1, "--wandb", "disabled"]
    command += ["--data.num_workers", 0]
    with pytest.raises(RunError, match="cannot be read as an image"):
        train.main([str(word) for word in command])
    assert "report  " not in capsys.readouterr().out
    write_class_folders(Path("own"))
    train.main([str(word) for word in command])
    assert read_summary("a")["status"] == "finished"


def test_a_place_where_no_folder_can_be_made_is_named():
    Path("checkpoints").write_text("mine")
    for name in (["--name", "a"], []):
        with pytest.raises(RunError, match="cannot be made .checkpoints is a file: move it away.$"):
            run(*name)
    assert Path("checkpoints").read_text() == "mine"
    Path("checkpoints").unlink()
    Path("checkpoints").mkdir()
    Path("checkpoints/a").write_text("mine")
    with pytest.raises(UsageError, match="--name a is taken"):
        run("--name", "a")


def test_a_folder_in_the_place_of_a_file_is_named_and_a_full_disk_leaves_nothing_half_written(monkeypatch):
    run("--name", "a", "--max_epochs", 1)
    Path("checkpoints/a/config.yaml").unlink()
    Path("checkpoints/a/config.yaml").mkdir()
    with pytest.raises(RunError, match=r"^checkpoints/a/config.yaml cannot be written .Is a directory.$"):
        train.main(["--ckpt_path", "last", "--max_epochs", "2"])
    assert not list(Path("checkpoints/a").glob(".writing-*"))


def test_a_last_state_that_is_gone_points_to_the_one_before_it():
    run("--name", "a", "--max_epochs", 2)
    Path("checkpoints/a/last.ckpt").unlink()
    with pytest.raises(
        UsageError, match=r"no checkpoint checkpoints/a/last.ckpt, .*--ckpt_path checkpoints/a/previous"
    ):
        train.main(["--ckpt_path", "checkpoints/a/last.ckpt"])


def test_from_another_folder_a_run_goes_on_in_its_own(workplace, monkeypatch):
    run("--name", "a", "--max_epochs", 1, "--optim.schedule", "constant")
    run("--name", "b", "--max_epochs", 2, "--optim.schedule", "constant")
    (workplace / "elsewhere").mkdir()
    monkeypatch.chdir(workplace / "elsewhere")
    before = folders.read_checkpoint(workplace / "checkpoints" / "a" / "last.ckpt")["run"]["tracker_id"]
    train.main(["--ckpt_path", str(workplace / "checkpoints" / "a" / "last.ckpt"), "--max_epochs", "2"])
    evaluate.main([str(workplace / "checkpoints" / "a" / "best.ckpt")])
    assert not list(Path.cwd().iterdir())
    a, b = (folders.read_checkpoint(workplace / "checkpoints" / name / "last.ckpt") for name in "ab")
    a["course"] = b["course"]  # it was lengthened, and says so
    assert same(a, b) and a["run"]["tracker_id"] == before
