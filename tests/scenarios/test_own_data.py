"""Whole runs on a person's own files, in every layout and for every task: train, resume, evaluate, predict."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.contract.errors import UserError
from engine.errors import RunError, UsageError
from engine.files import class_folders
from engine.inference import evaluate, predict
from engine.resume.checkpoint_file import read_checkpoint
from engine.resume.compare import differences
from engine.training.progress import percent_or_number
from project import LitTranslator
from scripts import train
from tests.own_data import (
    WRITERS,
    write_class_folders,
    write_coco,
    write_cvat,
    write_label_lists,
    write_labelme,
    write_masks,
    write_numbers,
    write_pairs,
    write_table,
    write_voc,
    write_yolo,
)
from tests.runs import cut_after, read_metrics, read_summary

QUICK = ["--wandb", "disabled", "--precision", "32-true", "--data.image_size", "48", "--data.batch_size", "6"]
SMALL = ["--backbone.widths", "8,16,16", "--backbone.kernel_size", "3", "--max_epochs", "2"]
BEST = {
    "classify": "acc",
    "segment": "miou",
    "detect": "map",
    "translate": "psnr",
    "regress": "r2",
    "multilabel": "map",
}


def slow(*values):
    """Values that are tried under the marker `slow` only."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture(autouse=True)
def _(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=WRITERS)
def task(request):
    return request.param


def run(task, *arguments):
    train.main(["--task", task, "--data", "own", *QUICK, *SMALL, *map(str, arguments)])


def pixels(path):
    with Image.open(path) as image:
        return np.array(image)


@pytest.mark.parametrize(
    ("task", "writer", "options"),
    [
        ("classify", write_class_folders, {}),
        ("classify", write_class_folders, {"split": True, "suffix": ".jpg"}),
        ("classify", write_table, {"split": True}),
        ("segment", write_masks, {"split": True}),
        slow("segment", write_masks, {"classes": False}),
        ("detect", write_voc, {"split": True}),
        ("detect", write_coco, {}),
        slow("detect", write_coco, {"split": True}),
        ("detect", write_yolo, {"split": True}),
        ("detect", write_labelme, {}),
        ("detect", write_cvat, {}),
        slow("detect", write_yolo, {"within": True, "split": True}),
        ("translate", write_pairs, {"split": True}),
        slow("translate", write_pairs, {"joined": True}),
        ("regress", write_numbers, {"split": True}),
        ("multilabel", write_label_lists, {"split": True}),
    ],
)
def test_every_layout_trains_and_its_checkpoint_measures_the_same_again(capsys, task, writer, options):
    writer(Path("own"), **options)
    run(task, "--name", "a", "--data.num_workers", "0")
    summary = read_summary("a")
    split = "test" if options.get("split") else "val"
    assert summary["status"] == "finished" and f"val/{BEST[task]}" in summary["metrics"]
    assert (f"test/{BEST[task]}" in summary["metrics"]) == (split == "test")
    out = capsys.readouterr().out
    assert ("test      none" in out) == (split == "val") and "own: " in out
    evaluate.main(["checkpoints/a/best.ckpt"])
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith(f"{split}/{BEST[task]} "))
    expected = summary["metrics"][f"test/{BEST[task]}"] if split == "test" else summary["best"]["value"]
    assert percent_or_number(f"{split}/{BEST[task]}", expected) in line
    assert (", 6 test images" if split == "test" else ", 5 validation images") in out  # of 24


@pytest.mark.parametrize(
    "task", ["classify", slow("segment"), "detect", slow("translate"), "regress", "multilabel"], indirect=True
)
def test_a_run_on_own_files_cut_within_an_epoch_goes_on_exactly(task):
    """With augmentation (mosaic as well, for boxes), dropout and two loading processes."""
    WRITERS[task](Path("own"))
    options = ["--data.num_workers", "2", "--backbone.dropout", "0.2", "--save_every_steps", "1"]
    run(task, "--name", "whole", *options)
    with cut_after(2):
        run(task, "--name", "cut", *options)
    train.main(["--ckpt_path", "checkpoints/cut/last.ckpt"])
    assert differences(*(read_checkpoint(f"checkpoints/{name}/last.ckpt") for name in ("whole", "cut"))) == []
    assert read_metrics("whole") == read_metrics("cut")


def test_a_run_finds_its_table_of_labels_from_elsewhere_and_says_if_that_was_changed(capsys, monkeypatch):
    write_table(Path("own"), num=12)
    Path("own/labels.csv").rename("mine.csv")
    run("classify", "--name", "a", "--data.labels", "mine.csv", "--data.num_workers", "0", "--max_epochs", "1")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    capsys.readouterr()
    train.main(["--ckpt_path", "../checkpoints/a/last.ckpt", "--max_epochs", "2"])
    printed = "".join(capsys.readouterr())
    assert "uninterrupted one: max_epochs is 2 and was 1" in printed and "the files in" not in printed
    Path("../mine.csv").write_text(Path("../mine.csv").read_text().replace("0.png,blue", "0.png,red"))
    train.main(["--ckpt_path", "../checkpoints/a/last.ckpt", "--max_epochs", "3"])
    assert "changed since the run stopped (targets or file contents changed)" in "".join(capsys.readouterr())


def test_predictions_are_drawn_and_tabled(capsys, task):
    WRITERS[task](Path("own"))
    run(task, "--name", "a", "--data.num_workers", "0")
    Path("some").mkdir()
    Image.fromarray(np.full((30, 90, 4), 128, np.uint8)).save("some/wide é.png")
    Image.fromarray(np.full((200, 50, 3), 90, np.uint8)).save("some/tall.jpg")
    least = ["--score_threshold", "0.01"] if task == "detect" else []
    predict.main(["checkpoints/a/best.ckpt", "some", "--output", "drawn", *least])
    for name, size in (("wide é", (90, 30)), ("tall", (50, 200))):
        assert pixels(f"drawn/{name}.png").shape == (*size[::-1], 3)
        if task == "segment":
            mask = pixels(f"drawn/{name}_mask.png")  # of class numbers, whatever their colours
            assert mask.shape == size[::-1] and mask.max() < 3
    with open("drawn/predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    pictures = {(row["image"], row["picture"]) for row in rows}
    assert pictures == {("some/wide é.png", "wide é.png"), ("some/tall.jpg", "tall.png")}
    assert "some/tall.jpg" in capsys.readouterr().out
    predict.main(["checkpoints/a/best.ckpt", "some", "--output", "out.json", *least])
    entries = json.loads(Path("out.json").read_text())
    assert len(entries) == 2 and all("mask" not in entry for entry in entries)
    assert [entry["image"] for entry in entries] == ["some/tall.jpg", "some/wide é.png"]
    assert ("--output FOLDER writes them" in capsys.readouterr().err) == (task == "translate")
    if task == "detect":
        for found in entries[1]["objects"]:
            assert 0 <= found["x0"] <= found["x1"] <= 90 and 0 <= found["y0"] <= found["y1"] <= 30


def test_images_are_translated_as_large_as_they_are_or_scaled_to_the_size_trained_on():
    write_pairs(Path("own"))
    run("translate", "--name", "a", "--data.num_workers", "0", "--data.target_channels", "1", "--max_epochs", "4")
    predict.main(["checkpoints/a/best.ckpt", "own/A", "--output", "whole", "--batch_size", "5"])
    predict.main(["checkpoints/a/best.ckpt", "own/A", "--output", "fitted", "--letterbox"])
    whole, fitted = (np.stack([pixels(f"{name}/{i}.png") for i in range(24)]) for name in ("whole", "fitted"))
    assert whole.shape == fitted.shape == (24, 48, 40)  # as in their files, and grey
    assert 0 < np.abs(whole.astype(float) - fitted).mean() < 25  # 40 x 48 was fitted into 48 x 48: much the same
    evaluate.main(["checkpoints/a/best.ckpt", "--data", str(write_pairs(Path("other"), num=8))])
    write_class_folders(Path("classes"))
    run("classify", "--name", "b", "--data", "classes", "--data.num_workers", "0", "--max_epochs", "1")
    with pytest.raises(
        UsageError, match="--letterbox is for tasks that take images of any size; task classify letterboxes"
    ):
        predict.main(["checkpoints/b/best.ckpt", "own/A", "--letterbox"])


def test_an_image_that_the_network_cannot_take_is_named(monkeypatch):
    write_pairs(Path("own"), num=8)
    run("translate", "--name", "a", "--data.num_workers", "0", "--max_epochs", "1")

    def refuse(self, images):
        raise UserError("only 48 x 48")

    monkeypatch.setattr(LitTranslator, "translate", refuse)
    with pytest.raises(RunError, match=r"own/A/0.png: only 48 x 48; try --letterbox"):
        predict.main(["checkpoints/a/best.ckpt", "own/A"])


def test_samples_are_pictured_as_training_goes_on(reports):
    write_pairs(Path("own"), split=True)
    run("translate", "--name", "a", "--data.num_workers", "0", "--max_epochs", "12", "--limit_train_batches", "1")
    names = sorted(path.name for path in Path("checkpoints/a/samples").iterdir())
    assert names == sorted(f"epoch-{n}.png" for n in (*range(1, 10), 10))
    for path in ("samples/epoch-10.png", "plots/samples.png"):
        assert pixels(f"checkpoints/a/{path}").shape[0] == 3 * (4 * 48 + 4)  # rows of images, enlarged four times
    whole = read_checkpoint("checkpoints/a/last.ckpt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LitTranslator, "pictures", lambda self, images, targets: {})
        run("translate", "--name", "b", "--data.num_workers", "0", "--max_epochs", "12", "--limit_train_batches", "1")
    assert not Path("checkpoints/b/samples").exists()
    assert differences(whole, read_checkpoint("checkpoints/b/last.ckpt")) == []  # pictures change nothing


def test_other_data_of_the_same_classes_is_measured_whole(capsys):
    write_class_folders(Path("own"))
    run("classify", "--name", "a", "--data.num_workers", "0")
    write_class_folders(Path("other"), num=12)
    evaluate.main(["checkpoints/a/best.ckpt", "--data", "other"])
    assert "other, 12 test images" in capsys.readouterr().out
    for path in Path("other/green").iterdir():
        path.unlink()
    Path("other/green").rmdir()
    evaluate.main(["checkpoints/a/best.ckpt", "--data", "other"])  # a class that is missing keeps its number
    assert "other, 8 test images" in capsys.readouterr().out
    Path("other/red").rename("other/purple")
    with pytest.raises(UsageError, match="has the class purple, which --data.classes lacks"):
        evaluate.main(["checkpoints/a/best.ckpt", "--data", "other"])
    evaluate.main(["checkpoints/a/best.ckpt", "--data", "./own"])  # the same folder: what was held out, not all of it
    assert ", 5 validation images" in capsys.readouterr().out
    run("classify", "--name", "b", "--data.num_workers", "0", "--data.val_size", "0.1", "--data.test_size", "0.25")
    Path("own").rename("moved")
    evaluate.main(["checkpoints/b/best.ckpt", "--data", "moved"])
    assert "moved, 6 test images" in capsys.readouterr().out
    evaluate.main(["checkpoints/a/best.ckpt", "--data", "moved", "--split", "val"])
    assert "moved, 5 validation images" in capsys.readouterr().out
    evaluate.main(["checkpoints/a/best.ckpt", "--data", "moved", "--data.test_size", "0.5"])
    assert "moved, 12 test images" in capsys.readouterr().out
    Path("moved").rename("own")
    with pytest.raises(UsageError, match=r"--data.image_size follows from the checkpoint: leave it out"):
        evaluate.main(["checkpoints/a/best.ckpt", "--data.image_size", "32"])
    with pytest.raises(UsageError, match="data own has no test images"):
        evaluate.main(["checkpoints/a/best.ckpt", "--split", "test"])


@pytest.mark.parametrize("writer", [write_class_folders, slow(write_coco)])
def test_other_data_with_splits_of_its_own_is_measured_on_those(capsys, writer):
    task = "classify" if writer is write_class_folders else "detect"
    writer(Path("own"))
    run(task, "--name", "a", "--data.num_workers", "0")
    writer(Path("other"), split=True)
    evaluate.main(["checkpoints/a/best.ckpt", "--data", "other"])
    assert "other, 6 test images" in capsys.readouterr().out
    for path in Path("other").rglob("*test*"):  # now there is no test
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    evaluate.main(["checkpoints/a/best.ckpt", "--data", "other"])
    assert "other, 6 validation images" in capsys.readouterr().out


def test_a_class_may_have_a_name_that_looks_like_a_measure():
    write_voc(Path("own"), split=True)
    for path in Path("own/Annotations").iterdir():
        path.write_text(path.read_text().replace("blue", "50"))
    run("detect", "--name", "a", "--data.num_workers", "0")
    metrics = read_summary("a")["metrics"]
    assert {"test/map_50", "test/map/50", "test/map/red"} <= metrics.keys()


@pytest.mark.parametrize("precision", [slow("bf16-true"), "64-true"])
def test_averaged_weights_have_the_type_of_the_others(precision):
    write_voc(Path("own"))
    run("detect", "--name", "a", "--data.num_workers", "0", "--precision", precision, "--max_epochs", "1")
    train.main(["--ckpt_path", "last", "--max_epochs", "2"])
    assert read_summary("a")["status"] == "finished"


def test_without_objects_to_validate_on_others_are_held_out(capsys):
    write_coco(Path("own"), split=True)
    for split in ("val", "test"):
        path = Path(f"own/annotations/instances_{split}.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    run("detect", "--name", "a", "--data.num_workers", "0")
    summary = json.loads(Path("checkpoints/a/summary.json").read_text(), parse_constant=pytest.fail)
    assert "note: val left out: none of its images has a box" in capsys.readouterr().out
    assert summary["metrics"]["val/map"] is not None and Path("checkpoints/a/best.ckpt").exists()


def test_images_are_never_overwritten_by_their_drawings():
    write_masks(Path("own"))
    run("segment", "--name", "a", "--data.num_workers", "0")
    before = Path("own/images/3.png").read_bytes()
    with pytest.raises(UsageError, match="--output own/images: 0.png .*was not written by predict.py"):
        predict.main(["checkpoints/a/best.ckpt", "own/images", "--output", "own/images"])
    assert Path("own/images/3.png").read_bytes() == before
    for name in ("x_mask", "x"):
        shutil.copy("own/images/3.png", f"{name}.png")
    predict.main(["checkpoints/a/best.ckpt", "x_mask.png", "x.png", "--output", "drawn"])
    assert len(list(Path("drawn").glob("*.png"))) == 4


def test_a_name_that_is_no_text_can_be_written():
    write_class_folders(Path("own"))
    run("classify", "--name", "a", "--data.num_workers", "0")
    shutil.copy("own/red/2.png", os.fsdecode(b"odd \xff.png"))
    for table in ("out.csv", "out.json"):
        predict.main(["checkpoints/a/best.ckpt", os.fsdecode(b"odd \xff.png"), "--output", table])
        assert "odd" in Path(table).read_text()


def test_the_class_order_travels_in_the_checkpoint():
    write_class_folders(Path("own"))
    run("classify", "--name", "a", "--data.classes", "red,blue,green", "--data.num_workers", "0")
    hparams = read_checkpoint("checkpoints/a/best.ckpt")["hyper_parameters"]
    assert hparams["class_names"] == ["red", "blue", "green"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_breaks_while_training_is_named_in_one_line(workers):
    write_class_folders(Path("own"))
    Path("own/red/2.png").write_bytes(Path("own/red/2.png").read_bytes()[:200])
    with pytest.raises(RunError, match=r"^own/red/2.png cannot be read as an image.*check_data.py own") as caught:
        run("classify", "--name", "a", "--data.num_workers", workers, "--data.val_size", 0)
    assert "\n" not in str(caught.value) and caught.value.status == 1
    assert read_summary("a")["status"] == "failed"


@pytest.mark.task("classify")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "detect"], "own holds class folders .*, for task classify, not detect"),
        (["--data", "./nowhere"], "there is no folder nowhere"),
        (["--data", ""], "unknown data ''"),
        (["--data.val_size", "0", "--data.test_size", "1"], "data own has no images to train on"),
        (["--data.image_size", "1"], "image_size is one number of pixels, or height and width, 2 or more"),
        (["--data.mosaic", "0.5"], "mosaic is for boxes, and the task is classify"),
        (["--data.imagesize", "64"], "unknown option --data.imagesize for data own; did you mean --data.image_size"),
        (["--data.path", "other"], "unknown option --data.path"),
        (["--head", "fcn"], "head fcn is a MapHead, and task classify needs a ClassHead: use dense"),
        (["--task.class_names", "a,b,c"], r"task.class_names \['a', 'b', 'c'\]: it is \['blue', 'green', 'red'\]"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(arguments, message):
    write_class_folders(Path("own"))
    with pytest.raises(UsageError, match=message):
        train.main(["--data", "own", *QUICK, *arguments])
    assert not Path("checkpoints").exists()


def test_a_classifiers_backbone_goes_into_a_detector_and_it_says_what_matched(capsys):
    write_class_folders(Path("own"))
    run("classify", "--name", "a", "--data.num_workers", "0")
    write_voc(Path("boxes"))
    capsys.readouterr()
    train.main(
        ["--task", "detect", "--data", "boxes", *QUICK, *SMALL, "--init_from", "checkpoints/a/best.ckpt"]
        + ["--name", "b", "--data.num_workers", "0", "--optim.lr", "1e-12", "--max_epochs", "1"]
    )
    out = capsys.readouterr().out
    assert "weights from checkpoints/a/best.ckpt" in out
    assert "init      not in the file: head." in out and "init      only in the file: head.layers.0.weight" in out
    first, second = (read_checkpoint(f"checkpoints/{name}/best.ckpt")["state_dict"] for name in ("a", "b"))
    for name in (name for name in second if name.startswith("backbone.") and name.endswith("0.weight")):
        np.testing.assert_allclose(first[name], second[name], atol=1e-6)


def test_a_folder_tells_the_task_if_no_other_is_asked_for():
    options = ["--data", "own", *QUICK, *SMALL[2:], "--max_epochs", "1", "--data.num_workers", "0"]
    write_voc(Path("own"))
    train.main([*options, "--name", "a"])
    assert read_checkpoint("checkpoints/a/best.ckpt")["run"]["config"]["task"]["name"] == "detect"
    with pytest.raises(UsageError, match="holds Pascal VOC .24 train., for task detect, not classify"):
        train.main([*options, "--task", "classify"])
    write_pairs(Path("wide"), joined=True)  # wide images are taken for pairs only if those are asked for
    with pytest.raises(UsageError, match="for task translate, not classify"):
        train.main([*options, "--data", "wide"])


def test_a_run_that_goes_on_keeps_the_numbers_of_its_classes_and_refuses_others(monkeypatch):
    write_class_folders(Path("own"))
    for name, number in (("blue", "1"), ("green", "2"), ("red", "10")):
        Path("own", name).rename(Path("own", number))
    with monkeypatch.context() as patch:
        patch.setattr(class_folders, "natural_order", sorted)  # as another version had it
        run("classify", "--name", "a", "--data.num_workers", "0", "--max_epochs", "1")
    evaluate.main(["checkpoints/a/best.ckpt"])
    train.main(["--ckpt_path", "checkpoints/a/last.ckpt", "--max_epochs", "2"])
    assert read_checkpoint("checkpoints/a/last.ckpt")["hyper_parameters"]["class_names"] == ["1", "10", "2"]
    run("classify", "--name", "b", "--data.num_workers", "0", "--max_epochs", "1")
    assert read_checkpoint("checkpoints/b/last.ckpt")["hyper_parameters"]["class_names"] == ["1", "2", "10"]
    Path("own", "2").rename(Path("own", "zebra"))
    with pytest.raises(UsageError, match=r"own has the class zebra, which --data.classes lacks \(1 10 2\)"):
        train.main(["--ckpt_path", "checkpoints/a/last.ckpt", "--max_epochs", "3"])
