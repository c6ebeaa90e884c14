import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from engine.errors import RunError, UsageError
from engine.export import command as export
from engine.inference import predict
from engine.resume.checkpoint_file import read_checkpoint, write_checkpoint
from tests.runs import run, workplace_of_a_module
from tests.tiny import ROOT


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint trained on the stand-in, and a folder of images of its ten classes."""
    with workplace_of_a_module(tmp_path_factory) as folder:
        run("--name", "a", "--max_epochs", 4)
    (folder / "images").mkdir()
    for digit in range(10):
        image = np.full((28, 28), 30, np.uint8)
        image[4:24, 4 + 2 * digit : 6 + 2 * digit] = 250
        Image.fromarray(image).save(folder / "images" / f"a {digit}.png")
    return folder


@pytest.fixture(autouse=True)
def _(trained, monkeypatch):
    monkeypatch.chdir(trained)


CKPT = "checkpoints/a/best.ckpt"


@pytest.mark.task("classify")
def test_every_image_gets_its_row_on_the_screen_and_in_a_table(capsys):
    predict.main([CKPT, "images", "--output", "out.csv"])
    with open("out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == list("0123456789")
    assert [row["image"] for row in rows] == [f"images/a {digit}.png" for digit in range(10)]
    assert all(float(row[f"p_{row['class']}"]) == float(row["probability"]) for row in rows)
    assert sum(float(rows[0][f"p_{digit}"]) for digit in range(10)) == pytest.approx(1, abs=1e-4)
    assert capsys.readouterr().out.count("images/a ") == 10


@pytest.mark.task("classify")
def test_names_are_text_in_a_table_and_on_the_screen(tmp_path, monkeypatch, capsys):
    """Spreadsheets run what looks like a formula, and terminals obey control characters."""
    checkpoint = read_checkpoint(CKPT)
    names = ["=1+1", "+1", "-1", "@a", "\tb", "\rc", "a=b", "\x1b]0;d\x07", "'e", "f"]
    checkpoint["hyper_parameters"]["class_names"] = names
    write_checkpoint(checkpoint, tmp_path / "a.ckpt")
    files = []
    (tmp_path / "in").mkdir()
    for digit in range(10):
        files.append(f"{'=+-@'[digit % 4]}{digit}.png")
        Image.open(f"images/a {digit}.png").save(tmp_path / "in" / files[-1])
    monkeypatch.chdir(tmp_path / "in")
    for _ in range(2):  # the second time it knows its own pictures
        predict.main(["../a.ckpt", ".", "--output", "../out"])
    predict.main(["../a.ckpt", ".", "--output", "../out.json"])
    shown = capsys.readouterr().out
    assert shown.isascii() and all(line.isprintable() for line in shown.splitlines()) and "?]0;d?" in shown
    with open("../out/predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    quoted = {name: f"'{name}" if name[0] in "=+-@\t\r" else name for name in names}
    assert {row["class"] for row in rows} == set(quoted.values())
    assert {(row["image"], row["picture"]) for row in rows} == {(f"'{file}", f"'{file}") for file in files}
    assert all(row[f"p_{name}"][0].isdigit() for row in rows for name in names)
    found = json.loads(Path("../out.json").read_text())
    assert {row["class"] for row in found} == set(names) and {row["image"] for row in found} == set(files)


@pytest.mark.task("classify")
def test_batches_change_nothing():
    predict.main([CKPT, "images", "--output", "one.json", "--batch_size", "1"])
    predict.main([CKPT, "images", "--output", "all.json"])
    one, whole = (json.loads(Path(name).read_text()) for name in ("one.json", "all.json"))
    assert [row["class"] for row in one] == [row["class"] for row in whole]
    assert [r["probability"] for r in one] == pytest.approx([r["probability"] for r in whole], abs=1e-4)


@pytest.mark.task("classify")
def test_inverted_images_are_said_to_look_so_and_can_be_swapped(tmp_path, capsys):
    image = 255 - np.asarray(Image.open("images/a 3.png"))
    Image.fromarray(image).convert("RGB").save(tmp_path / "dark on light.png")
    predict.main([CKPT, str(tmp_path)])
    captured = capsys.readouterr()
    assert "looks inverted" in captured.out and "1 of 1 images look inverted" in captured.err
    predict.main([CKPT, str(tmp_path), "--invert", "--output", str(tmp_path / "out.json")])
    assert json.loads((tmp_path / "out.json").read_text())[0]["class"] == "3"
    assert "looks inverted" not in capsys.readouterr().out


@pytest.mark.task("classify")
def test_files_of_a_folder_that_are_not_read_are_listed(tmp_path, capsys):
    Image.open("images/a 5.png").save(tmp_path / "good.png")
    for name in ("a.heic", "scan", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    predict.main([CKPT, str(tmp_path)])
    listed = f"({tmp_path}/a.heic, {tmp_path}/scan)"
    assert capsys.readouterr().err == (f"note: 2 files left out: their format is not read {listed}\n")


@pytest.mark.task("classify")
def test_unreadable_files_are_named_and_the_others_dealt_with(tmp_path, capsys):
    Image.open("images/a 5.png").save(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_text("text")
    with pytest.raises(RunError, match=r"1 files left out:\n.*bad.jpg cannot be read as an image") as caught:
        predict.main([CKPT, str(tmp_path), "--output", str(tmp_path / "out.csv")])
    assert caught.value.status == 1
    assert "good.png,5," in (tmp_path / "out.csv").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([CKPT], "the following arguments are required: images"),
        (["nowhere.ckpt", "images"], "there is no checkpoint nowhere.ckpt"),
        ([CKPT, "nowhere"], "there is no image or folder nowhere"),
        ([CKPT, "images", "--output", "out.txt"], "expected a folder, or a name that ends in .csv or .json"),
        ([CKPT, "images", "--output", "nowhere/out.csv"], "its folder does not exist"),
        ([CKPT, "images", "--output", "x" * 300 + ".csv"], "--output '?x+[.']*: File name too long"),
        ([CKPT, "images", "--output", "x" * 300], "--output '?x+[.']*: File name too long"),
        ([CKPT, "images", "--output", CKPT], "expected a folder, or a name that ends in .csv or .json"),
        ([CKPT, "images", "--output", "images"], "a 0.png and 9 more there would be overwritten"),
        ([CKPT, "images", "--device", "meta"], "--device meta: expected cpu, cuda or mps"),
        ([CKPT, "images", "--device", "cuda:99"], "--device cuda:99: "),
        ([CKPT, ""], "an empty path was given for an image"),
        ([CKPT, "images", "--batch_size", "0"], "--batch_size is 1 or more"),
        ([CKPT, "images", "--batch_size", "x"], "invalid int value"),
        ([CKPT, "images", "--tile", "64"], "--tile: task classify cannot join the answers for tiles"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message) as caught:
        predict.main(arguments)
    assert "\n" not in str(caught.value)


def test_a_folder_of_pictures_is_drawn_again_and_nothing_else_in_it_replaced(tmp_path):
    folder = tmp_path / "out"
    for _ in range(2):
        predict.main([CKPT, "images/a 1.png", "--output", str(folder)])
    (folder / "a 2.png").write_text("mine")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for images in (["images"], [str(folder / "a 1.png")]):  # one of another's, one of ours that is looked at
        with pytest.raises(
            UsageError, match=r"a [12].png there would be overwritten, but was not written by predict.py"
        ):
            predict.main([CKPT, *images, "--output", str(folder)])
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    (folder / "a 2.png").unlink()
    (folder / "predictions.csv").write_text("mine")
    with pytest.raises(UsageError, match=r"predictions.csv and 1 more there would be overwritten"):
        predict.main([CKPT, "images/a 1.png", "--output", str(folder)])


def test_names_as_long_as_a_file_system_takes_are_shortened(tmp_path):
    names = ["x" * 251, "x" * 250 + "y", "é" * 125]
    for name in names:
        Image.open("images/a 5.png").save(tmp_path / f"{name}.png")
    predict.main([CKPT, str(tmp_path), "--output", str(tmp_path / "out")])
    assert len(list((tmp_path / "out").glob("*.png"))) == 3
    predict.main([CKPT, str(tmp_path / f"{names[0]}.png"), "--output", str(tmp_path / ("z" * 251 + ".csv"))])
    assert (tmp_path / ("z" * 251 + ".csv")).is_file()


SCENE = str(ROOT / "tests" / "fixtures" / "scene.png")
DETECTOR = [str(ROOT / "tests" / "fixtures" / name) for name in ("detect.ckpt", "detect.safetensors")]


@pytest.mark.parametrize(
    ("file", "value", "message"),
    [
        ("checkpoints/a/best.ckpt", 0.5, "--score_threshold is for detect, and this checkpoint's task is classify"),
        (DETECTOR[0], 1, r"--score_threshold 1: score_threshold is a number in \(0, 1\), got 1"),
    ],
)
def test_an_option_that_a_task_cannot_be_asked_with_is_refused(file, value, message):
    with pytest.raises(UsageError, match=message):
        predict.main([file, SCENE, "--score_threshold", str(value)])


def test_an_option_that_a_task_is_asked_with_holds(capsys):
    """The one object scores 0.0607."""
    for file in DETECTOR:
        for value, found in ((0.0606, True), (0.0608, False)):
            predict.main([file, SCENE, "--score_threshold", str(value)])
            assert ("nothing found" not in capsys.readouterr().out) == found


@pytest.mark.task("classify")
@pytest.mark.parametrize("file", [CKPT, "a.onnx"])
def test_with_mirror_images_a_probability_is_the_mean_of_two(tmp_path, file):
    if file != CKPT:
        export.main([CKPT, "--format", "onnx", "--output", file, "--images", "2"])
    path = Path("images/a 3.png")
    ImageOps.mirror(Image.open(path)).save(tmp_path / "mirrored.png")

    def probabilities(*arguments):
        predict.main([file, *map(str, arguments), "--output", str(tmp_path / "out.json")])
        return [entry["probabilities"] for entry in json.loads((tmp_path / "out.json").read_text())]

    plain, mirrored = probabilities(path, tmp_path / "mirrored.png")
    assert max(abs(plain[name] - mirrored[name]) for name in plain) > 0.1
    expected = {name: (plain[name] + mirrored[name]) / 2 for name in plain}
    assert probabilities(path, "--tta", "flip") == [pytest.approx(expected, abs=2e-6)]


@pytest.mark.task("classify")
def test_what_cannot_be_joined_is_refused():
    export.main([CKPT, "--format", "onnx", "--output", "b.onnx", "--images", "2"])
    with pytest.raises(UsageError, match="--tta multiscale: an exported file of task classify cannot do it: use the c"):
        predict.main(["b.onnx", "images", "--tta", "multiscale"])
    with pytest.raises(UsageError, match="argument --tta: invalid choice: 'turn'"):
        predict.main([CKPT, "images", "--tta", "turn"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tile", "0"], "--tile is a side in pixels, 4 or more with this network, got 0"),
        (["--tile", "3"], "--tile is a side in pixels, 4 or more with this network, got 3"),
        (["--tile", "-64"], "--tile is a side in pixels, 4 or more with this network, got -64"),
        (["--tile", "1.5"], "argument --tile: invalid int value: '1.5'"),
        (["--tile", "64", "--overlap", "1"], "--overlap is a share of a tile, 0 or more and below 1, got 1"),
        (["--tile", "64", "--overlap", "-0.1"], "--overlap is a share of a tile, 0 or more and below 1, got -0.1"),
        (["--tile", "64", "--overlap", "nan"], "--overlap is a share of a tile, 0 or more and below 1, got nan"),
        (["--tile", "64", "--overlap", "half"], "argument --overlap: invalid float value: 'half'"),
        (["--overlap", "0.3"], "--overlap is that of tiles: give --tile as well"),
    ],
)
def test_tiles_that_cannot_be_meant_are_refused(flags, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        predict.main([DETECTOR[0], SCENE, *flags])


def test_a_tile_that_is_larger_than_the_picture_changes_nothing(tmp_path):
    """A smaller one does."""
    for name, flags in {
        "plain": [],
        "large": ["--tile", "5000"],
        "small": ["--tile", "16", "--overlap", "0.5"],
    }.items():
        predict.main(
            [DETECTOR[0], SCENE, *flags, "--score_threshold", "0.05", "--output", str(tmp_path / f"{name}.csv")]
        )
    plain, large, small = ((tmp_path / f"{name}.csv").read_text() for name in ("plain", "large", "small"))
    assert plain == large != small


def test_what_cannot_be_read_or_answered_in_tiles_is_named(tmp_path):
    Image.open(SCENE).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("text")
    with pytest.raises(RunError, match=r"1 files left out:\n.*bad.png cannot be read as an image"):
        predict.main([DETECTOR[0], str(tmp_path), "--tile", "64", "--output", str(tmp_path / "out.csv")])
    assert "good.png," in (tmp_path / "out.csv").read_text()
