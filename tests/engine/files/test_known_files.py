"""A run that goes on knows its files: moved ones are the same, others are noted or refused, none changes its split."""

import shutil
from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.inference import evaluate
from engine.resume.checkpoint_file import read_checkpoint
from engine.resume.compare import differences
from scripts import train
from tests.own_data import WRITERS, write_class_folders, write_masks, write_voc
from tests.runs import cut_after
from tests.tiny import TASK

write_own = WRITERS[TASK]

OPTIONS = [
    *("--data.image_size", "32", "--data.batch_size", "8", "--data.num_workers", "0", "--max_epochs", "3"),
    *("--backbone.widths", "4,8,8", "--wandb", "disabled", "--precision", "32-true"),
]


@pytest.fixture(autouse=True)
def _(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_own(Path("own"))


def run(name, *options):
    train.main([*OPTIONS, "--data", "own", "--name", name, *options])


def cut(name, saves, *options):
    """Train until right after the save number `saves`."""
    with cut_after(saves):
        run(name, *options)


def split_of(name):
    """Return the names of the files that a run's checkpoint knows, as hashes, by split."""
    files = read_checkpoint(f"checkpoints/{name}/last.ckpt")["FolderDataModule"]["files"]
    return {split: set(entry["names"].tolist()) for split, entry in files.items()}


@pytest.mark.parametrize(
    ("task", "write", "saves"),
    [
        ("classify", write_class_folders, 1),
        ("segment", write_masks, 2),
        pytest.param("classify", write_class_folders, 2, marks=pytest.mark.slow),
        pytest.param("segment", write_masks, 1, marks=pytest.mark.slow),
        pytest.param("detect", write_voc, 1, marks=pytest.mark.slow),
        pytest.param("detect", write_voc, 2, marks=pytest.mark.slow),
    ],
)
def test_a_folder_that_was_moved_is_the_same_data(task, write, saves, capsys):
    shutil.rmtree("own")
    write(Path("own"))
    every = ["--task", task, "--save_every_steps", "2"]  # the first save is within an epoch
    run("whole", *every)
    cut("a", saves, *every)
    shutil.move("own", "elsewhere")
    with pytest.raises(UsageError, match="run a was trained on the folder own, which does not exist: give --data PATH"):
        train.main(["--ckpt_path", "checkpoints/a/last.ckpt"])
    capsys.readouterr()
    train.main(["--ckpt_path", "checkpoints/a/last.ckpt", "--data", f"{Path('elsewhere').absolute()}/"])
    assert "changed since the run stopped" not in capsys.readouterr().out
    assert differences(*(read_checkpoint(f"checkpoints/{name}/last.ckpt") for name in ("whole", "a"))) == []


@pytest.mark.task("classify")
def test_changed_files_are_refused_within_an_epoch_and_keep_their_split_between_two(capsys):
    cut("within", 1, "--save_every_steps", "2")
    cut("between", 1)
    before = split_of("between")
    Path("own/red/2.png").rename("own/red/renamed.png")
    for i in range(10):
        shutil.copy("own/blue/0.png", f"own/blue/new{i}.png")
    with pytest.raises(
        UsageError, match=r"changed after run within stopped within an epoch \(11 new \(first: .*1 gone"
    ):
        train.main(["--ckpt_path", "checkpoints/within/last.ckpt"])
    capsys.readouterr()
    train.main(["--ckpt_path", "checkpoints/between/last.ckpt"])
    assert "note: the files in own changed since the run stopped (11 new (first: " in capsys.readouterr().out
    after = split_of("between")
    assert not before["train"] & after["val"] and not before["val"] & after["train"]
    assert len(after["val"]) - len(before["val"] & after["val"]) == 2  # a fifth of those that are new


@pytest.mark.task("classify")
def test_other_contents_and_other_data_are_noticed(capsys):
    cut("a", 1)
    write_class_folders(Path("other"), num=12)
    with pytest.raises(UsageError, match="run a was trained on own, and other has other files"):
        train.main(["--ckpt_path", "checkpoints/a/last.ckpt", "--data", "other"])
    Path("own/red/2.png").write_bytes(Path("own/red/2.png").read_bytes() + b"more")
    train.main(["--ckpt_path", "checkpoints/a/last.ckpt"])
    assert "(targets or file contents changed)" in capsys.readouterr().out


def test_images_that_were_trained_on_are_not_called_test_images(capsys):
    run("a", "--max_epochs", "1")
    capsys.readouterr()
    evaluate.main(["checkpoints/a/best.ckpt"])
    here = capsys.readouterr().out
    shutil.move("own", "elsewhere")
    evaluate.main(["checkpoints/a/best.ckpt", "--data", "elsewhere"])
    assert capsys.readouterr().out == here.replace("own", "elsewhere") and "validation images" in here
    write_own(Path("others"), num=9)
    evaluate.main(["checkpoints/a/best.ckpt", "--data", "others"])
    assert "others, 9 test images" in capsys.readouterr().out


def test_resume_auto_starts_goes_on_and_is_done(capsys):
    auto = ["--resume", "auto"]
    with pytest.raises(UsageError, match="--resume auto finds a run by its name: give --name"):
        train.main([*OPTIONS, "--data", "own", *auto])
    run("whole")
    cut("a", 2, *auto)
    run("a", *auto)
    assert differences(*(read_checkpoint(f"checkpoints/{name}/last.ckpt") for name in ("whole", "a"))) == []
    capsys.readouterr()
    run("a", *auto)
    assert "run a is finished after 3 epochs" in capsys.readouterr().out
