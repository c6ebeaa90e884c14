import shutil

import numpy as np
import pytest
from PIL import Image

from engine.errors import RunError, UsageError
from engine.files import check_data
from engine.files.folders import FolderDataModule
from tests.own_data import (
    voc_xml,
    write_class_folders,
    write_coco,
    write_cvat,
    write_labelme,
    write_masks,
    write_pairs,
    write_table,
    write_voc,
    write_yolo,
)
from tests.tiny import TASK, run_script

pytestmark = pytest.mark.task("classify", "segment", "detect", "translate")  # of which the layouts are tried together


def check(folder, capsys):
    """Return what is printed, and the error that ends it or ''."""
    error = ""
    try:
        check_data.main([str(folder)])
    except RunError as caught:
        error = str(caught)
    printed = capsys.readouterr().out
    assert all(len(line) <= 80 or line.startswith("python ") for line in printed.splitlines())
    assert "\n" not in error
    return " ".join(printed.split()), error


def test_counts_sizes_and_modes_of_a_whole_folder(tmp_path, capsys):
    printed, error = check(write_class_folders(tmp_path, split=True), capsys)
    assert error == ""
    assert printed == (
        "class folders, for --task classify train val test images 12 6 6 blue 4 2 2 green 4 2 2 red 4 2 2 "
        "sizes 40 x 48 pixels, wide by high modes 24 RGB nothing is wrong with it train on it with python "
        f"scripts/train.py --data {tmp_path} --data.image_size 48,40"
    )


def test_boxes_that_shrink_to_nothing_are_remarked_with_a_way_out(tmp_path, capsys):
    boxes = [("a", (100, 100, 130, 130)), ("a", (200, 200, 260, 260)), ("a", (300, 300, 600, 600))]
    for size, name in (((2240, 1120), "large"), ((224, 224), "small")):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.new("L", (size[0], size[1]), i).save(tmp_path / name / f"{i}.png")
            (tmp_path / name / f"{i}.xml").write_text(
                voc_xml(boxes if name == "large" else [("a", (1, 1, 4, 4))], size[::-1])
            )
    printed, error = check(tmp_path / "large", capsys)
    assert error == ""
    assert "warning: 4 of 6 boxes shrink to less than 8 pixels, half of them to 4.5 or less, at the default" in printed
    assert "shrink to" not in check(tmp_path / "small", capsys)[0]


def test_boxes_and_shares_of_pixels_are_counted(tmp_path, capsys):
    (tmp_path / "voc").mkdir()
    for i, boxes in enumerate([[("a", (0, 0, 5, 5)), ("a", (5, 5, 9, 9))], [("b", (1, 1, 9, 9))], []]):
        Image.new("L", (20 + i, 10), i).save(tmp_path / "voc" / f"{i}.png")
        (tmp_path / "voc" / f"{i}.xml").write_text(voc_xml(boxes, (10, 20 + i)))
    printed, _ = check(tmp_path / "voc", capsys)
    assert "train boxes images 3 a 1 2 b 1 1 sizes 20 x 10 to 22 x 10 pixels, wide by high; median 21 x 10" in printed
    for name in ("images", "masks"):
        (tmp_path / "seg" / name).mkdir(parents=True)
        Image.fromarray(np.uint8([[0, 0, 0, 1], [255, 255, 255, 255]])).save(tmp_path / "seg" / name / "1.png")
    printed, _ = check(tmp_path / "seg", capsys)
    assert "train pixels images 1 0 1 75.0 % 1 1 25.0 %" in printed


@pytest.mark.parametrize(
    "write", [write_masks, write_voc, write_coco, write_yolo, write_labelme, write_cvat, write_pairs, write_table]
)
def test_nothing_is_wrong_with_what_is_right(tmp_path, capsys, write):
    for split in (False, True):
        printed, error = check(write(tmp_path / str(split), split=split), capsys)
        assert error == "" and "nothing is wrong with it" in printed


def test_every_problem_is_reported_not_only_the_first(tmp_path, capsys):
    write_masks(tmp_path)
    masks = tmp_path / "masks"
    (masks / "0.png").unlink()
    (tmp_path / "images" / "1.png").unlink()
    (tmp_path / "images" / "2.png").write_text("text")
    Image.new("L", (40, 48), 9).save(masks / "3.png")
    Image.new("L", (40, 47)).save(masks / "4.png")
    printed, error = check(tmp_path, capsys)
    for text in (
        "error: 1 files without their mask images/0.png has no mask",
        "error: 1 files without their image masks/1.png has no image",
        "error: 1 images that cannot be read",
        "error: 1 masks that cannot be read, or hold unknown classes",
        "holds the class 9, but there are 3, from 0 to 2",
        "error: 1 masks of another size than their image",
        "note: masks hold class numbers, named in classes.txt (0 is background); 255 is ignored",
    ):
        assert text in printed
    assert error == f"training on {tmp_path} would fail: 5 errors, see above"


def test_problems_of_annotations_are_reported_together(tmp_path, capsys):
    write_voc(tmp_path)
    (tmp_path / "Annotations" / "0.xml").write_text("<annotation>")
    (tmp_path / "Annotations" / "1.xml").write_text(voc_xml([("red", (0, 0, 9, 9))], (99, 99)))
    (tmp_path / "Annotations" / "2.xml").write_text(voc_xml([("red", (50, 50, 60, 60)), ("red", (5, 5, 5, 5))]))
    (tmp_path / "Annotations" / "3.xml").write_text(voc_xml([("red", (50, 50, 60, 60))], (0, 0)))
    printed, error = check(tmp_path, capsys)
    for text in (
        "error: 1 annotations that cannot be read",
        "error: 1 images of another size than their annotation says",
        "is 40 x 48 pixels, but its annotation is for 99 x 99",
        "warning: 2 boxes left out: they are outside their image JPEGImages/2.png JPEGImages/3.png",
        "warning: 1 boxes left out: they have no area JPEGImages/2.png",
    ):
        assert text in printed
    assert error.endswith("2 errors, see above")


def test_images_that_are_there_twice_are_found_by_their_bytes(tmp_path, capsys):
    write_class_folders(tmp_path, split=True)
    shutil.copy(tmp_path / "train" / "red" / "2.png", tmp_path / "train" / "blue" / "my copy é.png")
    shutil.copy(tmp_path / "train" / "red" / "5.png", tmp_path / "test" / "red" / "x.png")
    printed, error = check(tmp_path, capsys)
    assert error == ""  # training would work
    assert "images that are in train more than once" not in printed
    shutil.copy(tmp_path / "train" / "red" / "5.png", tmp_path / "train" / "red" / "my copy é.png")
    printed, _ = check(tmp_path, capsys)
    assert "warning: 1 images that are in train more than once train/red/my copy é.png = train/red/5.png" in printed
    assert "warning: 1 images that are in two classes: one of the two is wrong train/red/2.png = train/bl" in printed
    assert "warning: 1 images of test that are also in train test/red/x.png = train/red/5.png" in printed
    assert "held out for validation" not in printed  # the splits are the folder's own


def test_copies_that_the_split_to_be_drawn_would_part_are_found(tmp_path, capsys):
    write_class_folders(tmp_path)
    held = FolderDataModule(str(tmp_path), "classify").listings["val"]
    for name in list(held.images):
        copy = (tmp_path / name).with_stem(f"{(tmp_path / name).stem}z")
        shutil.copy(tmp_path / name, copy)
    printed, error = check(tmp_path, capsys)
    assert error == "" and "5 images that are in train more than once" in printed and "two classes" not in printed
    again = FolderDataModule(str(tmp_path), "classify").listings["val"].images
    parted = sum((f"{name[:-4]}z.png" in again) != (name in again) for name in held.images)
    assert parted and f"warning: {parted} images held out for validation whose copy is trained on" in printed


@pytest.mark.parametrize(
    ("write", "options"),
    [
        (lambda folder: grey_classes(folder, ("a", "b")), "--task classify --data.image_size 28 --data.channels 1"),
        (
            lambda folder: grey_classes(folder, ("left", "right")),
            "--task classify --data.image_size 28 --data.channels 1 --data.flip f",
        ),
        (write_voc, "--task detect --data.image_size 48,40"),
        (lambda folder: write_pairs(folder, joined=True), "--task translate --data.image_size 48,40"),
        (lambda folder: large_masks(folder), "--task segment"),
    ],
)
def test_a_command_that_suits_what_was_found_ends_it(tmp_path, capsys, write, options):
    write(tmp_path / "x y")
    printed, error = check(tmp_path / "x y", capsys)
    _, command = printed.split("train on it with ")
    options = options.removeprefix(f"--task {TASK} ")
    assert error == "" and command.startswith(f"python scripts/train.py --data '{tmp_path}/x y' {options}")
    assert ("image_size" in command) == ("image_size" in options)
    assert ("mirroring turns class left into right" in printed) == ("--data.flip f" in options)


def grey_classes(folder, names):
    for i, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        Image.new("L", (28, 28), i).save(folder / name / "1.png")


def large_masks(folder):
    for name, values in (("images", np.zeros((200, 200, 3), np.uint8)), ("masks", np.eye(200, dtype=np.uint8))):
        (folder / name).mkdir(parents=True)
        Image.fromarray(values).save(folder / name / "1.png")


def test_a_class_that_does_not_count_is_left_out_and_goes_into_the_command(tmp_path, capsys):
    write_masks(tmp_path)
    check_data.main([str(tmp_path), "--ignore", "red"])
    printed = capsys.readouterr().out
    assert "--data.ignore red --task segment" in printed and "\n  blue" in printed and "\n  red" not in printed


def test_classes_with_few_images_or_none_are_named(tmp_path, capsys):
    write_coco(tmp_path, split=True)
    for split in ("train", "val"):
        path = tmp_path / "annotations" / f"instances_{split}.json"
        path.write_text(path.read_text().replace('"category_id": 3', '"category_id": 7'))
    printed, _ = check(tmp_path, capsys)
    assert "warning: 1 classes without a training image blue" in printed
    assert "warning: 1 classes without an image in val" not in printed  # it cannot be learnt anyway
    for name, num in (("a", 11), ("b", 1)):
        for i in range(num):
            (tmp_path / "c" / name).mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), 10 * i + num).save(tmp_path / "c" / name / f"{i}.png")
    printed, _ = check(tmp_path / "c", capsys)
    assert "warning: classes are unbalanced: 11 training images show a, 1 b" in printed
    write_class_folders(tmp_path / "d", split=True)
    shutil.rmtree(tmp_path / "d" / "val" / "red")
    assert "warning: 1 classes without an image in val red" in check(tmp_path / "d", capsys)[0]


def test_a_folder_that_is_not_recognised_fails_and_one_that_is_not_there_is_wrong_usage(tmp_path, capsys):
    assert "holds nothing; what can be trained on:" in check(tmp_path, capsys)[1]
    (tmp_path / "labels.json").write_text("{")
    assert "labels.json cannot be read as JSON" in check(tmp_path, capsys)[1]
    with pytest.raises(UsageError, match="there is no folder"):
        check_data.main([str(tmp_path / "nowhere")])
    with pytest.raises(UsageError, match="the following arguments are required: path"):
        check_data.main([])


def test_as_a_program(tmp_path):
    write_masks(tmp_path / "my données")
    (tmp_path / "my données" / "masks" / "3.png").unlink()
    done = run_script("check_data", "my données", cwd=tmp_path)
    assert done.returncode == 1 and done.stdout.startswith("images with masks, for --task segment")
    assert done.stderr == "error: training on my données would fail: 1 error, see above\n"


def test_images_of_more_than_8_bits_are_remarked_with_what_is_left_of_their_values(tmp_path, capsys):
    for k, top in enumerate((4095, 3000, 200, 4095)):
        (tmp_path / "ab"[k % 2]).mkdir(exist_ok=True)
        values = np.linspace(0, top, 64).reshape(8, 8).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / "ab"[k % 2] / f"{k}.{('png', 'tif')[k % 2]}")
    printed, error = check(tmp_path, capsys)
    assert error == ""
    assert (
        "3 images have more than 8 bits and are read in 8: their values, up to 4,095, become 0 to 16; conv" in printed
    )
    assert "1 others have more bits but no value above 255: they are read as they are, 257 times as bright" in printed
    Image.fromarray(np.full((8, 8), 70_000, np.int32)).save(tmp_path / "a/0.tif")
    assert "up to 70,000, become 0 to 255, and those above 65,535 are cut off" in check(tmp_path, capsys)[0]
