"""Predicted boxes as annotation files: our own readers give back what was written."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.errors import RunError, UsageError
from engine.files.box_files import BoxLayout
from engine.files.layouts import recognise
from engine.inference import predict
from engine.inference.box_formats import FORMATS, SIDES, Boxes, check_new, names_below
from scripts import train
from tests.own_data import write_voc

NAMES = ("no", "a: b & <c>", "straße", "12")
KINDS = {"coco": "COCO", "yolo": "YOLO", "voc": "Pascal VOC"}


def found(name, *box):
    return {"class": name, "score": 0.5, **dict(zip(SIDES, box, strict=True))}


IMAGES = [
    Boxes("a.png", (40, 64), [found("no", 0.0, 0.0, 64.0, 40.0), found("a: b & <c>", 3.0, 4.0, 11.0, 9.0)]),
    Boxes("in/b c.png", (31, 47), [found("straße", 0.33, 7.07, 46.99, 30.01), found("12", 1.5, 2.0, 3.0, 4.0)]),
    Boxes("in/none.png", (31, 47), []),
]


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_written_is_read_as_it_was(tmp_path, form):
    for image in IMAGES:
        (tmp_path / "images" / image.name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((*image.size, 3), np.uint8)).save(tmp_path / "images" / image.name)
    for name, text in FORMATS[form](IMAGES, NAMES).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    layout = recognise(tmp_path)
    assert isinstance(layout, BoxLayout) and layout.kind == KINDS[form] and set(layout.class_names) == set(NAMES)
    listing = layout.splits["train"]
    read = {name.removeprefix("images/"): listing.boxes[i] for i, name in enumerate(listing.images)}
    assert read.keys() == {image.name for image in IMAGES}
    for image in IMAGES:
        boxes = torch.tensor([[o[side] for side in SIDES] for o in image.objects]).view(-1, 4)
        assert torch.equal(read[image.name][:, :4], boxes)
        assert [layout.class_names[int(k)] for k in read[image.name][:, 4]] == [o["class"] for o in image.objects]


def test_coco_has_scores_and_sizes():
    content = json.loads(FORMATS["coco"](IMAGES, NAMES)["annotations/instances.json"])
    assert content["images"][1] == {"id": 2, "file_name": "in/b c.png", "height": 31, "width": 47}
    assert content["annotations"][2] == {
        **{"id": 3, "image_id": 2, "category_id": 3, "bbox": [0.33, 7.07, 46.66, 22.94], "area": 1070.3804},
        **{"iscrowd": 0, "score": 0.5},
    }


def test_yolo_is_relative_to_the_sides_and_voc_counts_from_one():
    boxes = [Boxes("a.png", (50, 100), [found("b", 10.0, 20.0, 30.0, 40.0)])]
    assert FORMATS["yolo"](boxes, ["a", "b"])["labels/a.txt"] == "1 0.2 0.6 0.2 0.4\n"
    text = FORMATS["voc"](boxes, ["a", "b"])["Annotations/a.xml"]
    corners = [text.partition(f"<{side}>")[2].partition("<")[0] for side in ("xmin", "ymin", "xmax", "ymax")]
    assert corners == ["11", "21", "30", "40"]


def test_names_lead_from_the_folder_of_all_images():
    paths = [Path("x/images/a.png"), Path("x/images/in/a.png")]
    assert list(names_below(paths).values()) == ["a.png", "in/a.png"]
    with pytest.raises(UsageError, match="--format: a.png and a.jpg would have the same file: rename one of them"):
        names_below([Path("a.png"), Path("a.jpg")])


def test_annotations_are_not_overwritten(tmp_path):
    files = FORMATS["voc"](IMAGES, NAMES)
    check_new(files, tmp_path)
    (tmp_path / "Annotations" / "in").mkdir(parents=True)
    (tmp_path / "Annotations" / "in" / "none.xml").touch()
    with pytest.raises(UsageError, match=r"Annotations/in/none.xml exists, and may be your own; choose another folder"):
        check_new(files, tmp_path)


@pytest.mark.task("detect")
def test_a_detectors_answers_are_a_data_set(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_voc(Path("own"), num=12)
    quick = ["--wandb", "disabled", "--precision", "32-true", "--data.image_size", "48", "--data.batch_size", "6"]
    small = ["--backbone.widths", "8,16,16", "--backbone.kernel_size", "3", "--max_epochs", "1"]
    train.main(["--data", "own", "--task", "detect", "--name", "a", *quick, *small])
    images, ckpt = Path("own/JPEGImages"), "checkpoints/a/best.ckpt"
    low = ["--score_threshold", "0.0001"]
    predict.main([ckpt, str(images), "--output", "all.json", *low])
    answers = {Path(row["image"]).name: row["objects"] for row in json.loads(Path("all.json").read_text())}
    answers = {
        name: [[o[side] for side in SIDES] for o in objects if o["x0"] < o["x1"] and o["y0"] < o["y1"]]
        for name, objects in answers.items()
    }
    assert sum(map(len, answers.values())) > 12
    for form in FORMATS:
        predict.main([ckpt, str(images), "--output", form, "--format", form, *low])
        Path(form, "images").symlink_to(images.absolute())
        layout = recognise(Path(form))
        assert isinstance(layout, BoxLayout)
        listing = layout.splits["train"]
        for i, name in enumerate(listing.images):
            assert torch.equal(listing.boxes[i][:, :4], torch.tensor(answers[Path(name).name]).view(-1, 4))
    assert "written: voc (12 files)" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--output yolo: yolo/labels/0.txt exists"):
        predict.main([ckpt, str(images), "--output", "yolo", "--format", "yolo"])
    with pytest.raises(UsageError, match="--format coco writes several files: give --output FOLDER"):
        predict.main([ckpt, str(images), "--output", "x.json", "--format", "coco"])
    (images / "0.png").write_bytes(b"broken")
    with pytest.raises(RunError, match="1 files left out"):
        predict.main([ckpt, str(images), "--output", "rest", "--format", "voc"])
    assert len(list(Path("rest/Annotations").iterdir())) == 11
