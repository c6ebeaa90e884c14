import json
import os
import re
import unicodedata

import numpy as np
import pytest
import torch
from PIL import Image

from engine.files.layouts import recognise
from engine.files.mask_files import read_mask
from engine.inputs.folder import Findings
from tests.own_data import (
    voc_xml,
    write_class_folders,
    write_coco,
    write_cvat,
    write_labelme,
    write_masks,
    write_numbers,
    write_pairs,
    write_table,
    write_voc,
    write_yolo,
)

pytestmark = pytest.mark.task("segment", "detect", "translate")  # of which the layouts are tried together


def touch(folder, *names):
    """Make empty files, whose names are all that is looked at."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def sizes(layout):
    return {split: len(listing) for split, listing in layout.splits.items()}


def images(layout, split="train"):
    return list(layout.splits[split].images)


@pytest.mark.parametrize(
    ("write", "kind", "task", "class_names"),
    [
        (write_class_folders, "class folders", "classify", ("blue", "green", "red")),
        (write_table, "table of labels", "classify", ("blue", "green", "red")),
        (write_numbers, "table of numbers", "regress", ("blocks", "pixels")),
        (write_masks, "images with masks", "segment", ("background", "blue", "red")),
        (write_voc, "Pascal VOC", "detect", ("blue", "red")),
        (write_coco, "COCO", "detect", ("blue", "red")),
        (write_yolo, "YOLO", "detect", ("blue", "red")),
        (write_labelme, "labelme", "detect", ("blue", "red")),
        (write_cvat, "CVAT", "detect", ("blue", "red")),
        (write_pairs, "pairs of images in A and B", "translate", ()),
    ],
)
def test_each_layout_is_recognised_with_splits_and_without(tmp_path, write, kind, task, class_names):
    for split, expected in ((False, {"train": 24}), (True, {"train": 12, "val": 6, "test": 6})):
        layout = recognise(write(tmp_path / f"my {split} données", split=split))
        assert (layout.kind, layout.task, layout.class_names) == (kind, task, class_names)
        assert sizes(layout) == expected
        assert [note for note in layout.notes if not re.match("masks hold|.* without objects", note)] == []
        assert all(listing.image(len(listing) - 1).is_file() for listing in layout.splits.values())


def test_what_is_none_of_them_is_described_with_what_would_work(tmp_path):
    touch(tmp_path, "notes.txt", "a/b/c.txt")
    with pytest.raises(ValueError, match="holds 1 other files, one folder only, a/: if that.* can be trained on: CL"):
        recognise(tmp_path)
    with pytest.raises(ValueError, match="there is no folder"):
        recognise(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is a file, not a folder"):
        recognise(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match="empty holds nothing"):
        (tmp_path / "empty").mkdir()
        recognise(tmp_path / "empty")


# Class folders


def test_classes_whose_names_are_numbers_are_in_the_order_of_these(tmp_path):
    names = ["1", "2", "10", "010", "a1b2", "a1b10", "a02", "b", "\u00b2"]
    touch(tmp_path, *(f"{name}/1.jpg" for name in names))
    layout = recognise(tmp_path)
    assert layout.class_names == ("1", "2", "010", "10", "a1b2", "a1b10", "a02", "b", "\u00b2")
    for image, label in zip(images(layout), layout.splits["train"].labels.tolist(), strict=True):
        assert image == f"{layout.class_names[label]}/1.jpg"


def test_classes_are_in_the_order_of_their_names_and_hold_what_is_deeper(tmp_path):
    touch(tmp_path, "b/2.jpg", "b/in ner/é.JPEG", "B/1.png", "a 10/x.webp", "a 10/notes.txt", ".git/c.jpg", "b/._2.jpg")
    touch(tmp_path, "__MACOSX/b/2.jpg")
    layout = recognise(tmp_path)
    assert layout.class_names == ("B", "a 10", "b")
    assert images(layout) == ["B/1.png", "a 10/x.webp", "b/2.jpg", "b/in ner/é.JPEG"]
    assert layout.splits["train"].labels.tolist() == [0, 1, 2, 2]


@pytest.mark.parametrize(
    "names", [("training", "validation", "testing"), ("Train", "valid", "TEST"), ("train", "val", "test")]
)
def test_splits_have_many_names(tmp_path, names):
    for name in names:
        touch(tmp_path, f"{name}/cat/1.jpg", f"{name}/dog/2.jpg")
    assert sizes(recognise(tmp_path)) == dict.fromkeys(("train", "val", "test")[: len(names)], 2)


def test_a_split_may_lack_a_class_but_not_have_one_more(tmp_path):
    touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "val/c/1.jpg")
    assert recognise(tmp_path).splits["val"].labels.tolist() == [2]
    touch(tmp_path, "val/dog/1.jpg")
    with pytest.raises(ValueError, match=r"val/dog is a class that train lacks \(a b c\)"):
        recognise(tmp_path)


def test_an_empty_class_folder_is_named(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "my c/readme.txt")
    with pytest.raises(ValueError, match="class folder .*my c holds no images"):
        recognise(tmp_path)


def test_names_in_another_unicode_form_are_the_same_names(tmp_path):
    composed, apart = (unicodedata.normalize(form, "M\u00fcller") for form in ("NFC", "NFD"))
    touch(tmp_path, f"c/train/{composed}/1.jpg", "c/train/b/1.jpg", f"c/val/{apart}/1.jpg", f"m/images/{apart}.jpg")
    assert recognise(tmp_path / "c").splits["val"].labels.tolist() == [0]
    layout = recognise(tmp_path / "c", classes=["b", apart])  # as a checkpoint knows it
    assert layout.class_names == ("b", apart) and layout.splits["val"].labels.tolist() == [1]
    touch(tmp_path, f"m/masks/{composed}.png", "m/classes.txt").joinpath("m/classes.txt").write_text("a\nb")
    assert list(recognise(tmp_path / "m").splits["train"].partners) == [f"masks/{composed}.png"]


def test_files_of_formats_that_are_not_read_are_mentioned(tmp_path):
    layout = recognise(touch(tmp_path, "a/1.jpg", "b/1.jpg", "a/x.heic", "b/scan", "b/notes.txt"))
    assert layout.notes == ["2 files left out: their format is not read (first: a/x.heic)"]
    with pytest.raises(ValueError, match=r"c holds no images \(.*, but 1 with .heic\): fill it"):
        recognise(touch(tmp_path, "c/1.HEIC"))


def test_images_without_a_class_are_left_out_and_mentioned(tmp_path):
    layout = recognise(touch(tmp_path, "a/1.jpg", "b/1.jpg", "stray.jpg"))
    assert images(layout) == ["a/1.jpg", "b/1.jpg"]
    assert layout.notes == ["1 images left out: they are in no class folder (first: stray.jpg)"]


def test_a_class_may_be_called_train_but_splits_and_classes_do_not_mix(tmp_path):
    touch(tmp_path, "train/1.jpg", "plane/1.jpg", "car/1.jpg")
    assert recognise(tmp_path).class_names == ("car", "plane", "train")
    touch(tmp_path, "train/x/1.jpg", "train/y/1.jpg")
    with pytest.raises(ValueError, match="holds train/ and, beside it, car/ plane/"):
        recognise(tmp_path)


def test_without_a_folder_for_training_there_are_no_splits(tmp_path):
    touch(tmp_path, "val/a/1.jpg", "val/b/1.jpg", "test/a/1.jpg")
    with pytest.raises(ValueError, match="holds the folders test/ val/; what can be trained on"):
        recognise(tmp_path)
    assert recognise(touch(tmp_path, "other/1.jpg")).class_names == ("other", "test", "val")


def test_a_data_set_one_folder_below_is_pointed_to(tmp_path):
    touch(tmp_path / "a", "data/cat/1.jpg", "data/dog/1.jpg", "docs/index.html")
    with pytest.raises(ValueError, match=r"docs holds no images .*, or give .*a/data if that is the data set"):
        recognise(tmp_path / "a")
    touch(tmp_path / "b", "data/train/cat/1.jpg", "data/val/cat/1.jpg", "docs/1.png")
    with pytest.raises(ValueError, match=r"b/data is no class, as it holds train/ val/: if it is the data set, give t"):
        recognise(tmp_path / "b")
    touch(tmp_path / "c", "data/cat/1.jpg", "data/dog/1.jpg", "images/1.jpg")
    with pytest.raises(ValueError, match=r"data/ images/, of which .*c/data may be the data set: give that path then"):
        recognise(tmp_path / "c")


@pytest.mark.parametrize("inner", [("train", "test"), ("images", "masks")])
def test_splits_or_masks_within_the_classes_are_not_taken_for_more_of_their_images(tmp_path, inner):
    touch(tmp_path, *(f"{name}/{part}/1.jpg" for name in ("cat", "dog") for part in inner))
    with pytest.raises(ValueError, match="cat is no class, as it holds .*train/, val/ and test/ go around the classes"):
        recognise(tmp_path)


def test_class_names_that_look_alike_are_remarked_and_empty_ones_refused(tmp_path):
    notes = recognise(touch(tmp_path, "a/Cat/1.jpg", "a/cat/1.jpg", "a/dog/1.jpg").joinpath("a")).notes
    assert notes == ["classes 'Cat' and 'cat' differ only in case or spaces: merge them if they are the same"]
    assert len(recognise(touch(tmp_path, "b/cat/1.jpg", "b/cat /1.jpg").joinpath("b")).notes) == 1
    with pytest.raises(ValueError, match="has a class whose name is ' '"):
        recognise(touch(tmp_path, "c/ /1.jpg", "c/b/1.jpg").joinpath("c"))
    with pytest.raises(ValueError, match="has a class whose name is ''"):
        recognise(tmp_path / "b", classes=["cat", "cat ", ""])


LABELME = '{"version": "5.0", "shapes": [{"label": "a", "points": [[1, 1], [2, 2]]}], "imagePath": "0.png"}'


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"0.png": "", "boxes.csv": "filename,class,xmin,ymin,xmax,ymax\n"}, r"a table of boxes \(boxes.csv\)"),
        ({"0.png": "", "via.json": '{"0.png1": {"regions": [{"shape_attributes": {}}]}}'}, "VGG Image Annotator's"),
    ],
)
def test_annotations_of_other_tools_are_named_with_the_way_on(tmp_path, files, message):
    for name, text in files.items():
        touch(tmp_path, name).joinpath(name).write_text(text)
    for image in tmp_path.rglob("*.png"):
        Image.new("L", (40, 20)).save(image)  # two images side by side, by the looks of it
    with pytest.raises(ValueError, match=message):
        recognise(tmp_path)


def test_text_beside_a_layout_that_is_known_is_none_of_other_tools(tmp_path):
    touch(tmp_path, "a/1.png", "b/1.png", "boxes.txt").joinpath("boxes.txt").write_text("1 60.0 27.0 325.0 304.0\n")
    assert recognise(tmp_path).kind == "class folders"
    write_masks(tmp_path / "m")
    touch(tmp_path, "m/labels/0.txt", "m/json/0.json").joinpath("m/json/0.json").write_text(LABELME)
    assert recognise(tmp_path / "m").kind == "images with masks"


def test_two_folders_for_one_split_and_a_single_class_are_refused(tmp_path):
    touch(tmp_path, "one/only/1.jpg")
    with pytest.raises(ValueError, match="one folder only, only/: if that is the data set, give .*one/only"):
        recognise(tmp_path / "one")
    touch(tmp_path, "two/train/a/1.jpg", "two/train/b/1.jpg", "two/val/a/1.jpg", "two/valid/a/1.jpg")
    with pytest.raises(ValueError, match="two folders for val, val and valid"):
        recognise(tmp_path / "two")


def test_links_are_followed_but_not_round_in_circles(tmp_path):
    touch(tmp_path, "store/1.jpg", "data/b/2.jpg")
    os.symlink(tmp_path / "store", tmp_path / "data" / "a")
    os.symlink(tmp_path / "data", tmp_path / "data" / "b" / "again")
    assert images(recognise(tmp_path / "data")) == ["a/1.jpg", "b/2.jpg"]


def test_classes_can_be_given_in_an_order_of_their_own_as_long_as_they_include_the_folders(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/1.jpg")
    layout = recognise(tmp_path, classes=["b", "z", "a"])
    assert layout.class_names == ("b", "z", "a") and layout.splits["train"].labels.tolist() == [2, 0]
    with pytest.raises(ValueError, match=r"has the class b, which --data.classes lacks \(a c\)"):
        recognise(tmp_path, classes=["a", "c"])
    with pytest.raises(ValueError, match="one is listed twice"):
        recognise(tmp_path, classes=["a", "b", "a"])


# Masks


def save_mask(path, values, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values)).save(path)


def disc(radius=20.0):
    """A white disc on black, with edges that are as soft as they are when it is scaled down."""
    across = np.mgrid[:400, :400] - 199.5
    image = Image.fromarray(np.uint8(255 * (np.hypot(*across) < radius * 6)))
    return image.resize((64, 64), Image.Resampling.BILINEAR)


def with_palette(values, colours):
    image = Image.fromarray(np.uint8(values))
    image.putpalette(colours)
    return image


def write_one_mask(folder, *masks, classes=None):
    for i, mask in enumerate(masks):
        touch(folder, f"images/{i}.jpg", "masks/x").joinpath("masks/x").unlink()
        (mask if isinstance(mask, Image.Image) else Image.fromarray(np.array(mask))).save(folder / f"masks/{i}.png")
    if classes is not None:
        (folder / "classes.txt").write_text(classes)
    return folder


def classes_of(folder, **options):
    """Return a folder's class names, and the classes of the pixels of its masks."""
    layout = recognise(folder, **options)
    listing = layout.splits["train"]
    return layout.class_names, [read_mask(listing.partner(i), layout.code).tolist() for i in range(len(listing))]


RED_FIRST, GREEN_FIRST = [0, 0, 0, 255, 0, 0, 0, 255, 0], [0, 0, 0, 0, 255, 0, 255, 0, 0]
RED_GREEN = "ground 0 0 0\nred 255 0 0\ngreen 0 255 0"
NUMBERS = np.uint8([[0, 1, 2, 255]])


@pytest.mark.parametrize(
    ("masks", "classes", "names", "expected"),
    [
        (
            [with_palette([[1, 2]], RED_FIRST), with_palette([[1, 2]], GREEN_FIRST)],
            RED_GREEN,
            "ground red green",
            "12 21",
        ),
        ([with_palette([[1, 255]], RED_FIRST + [224] * 759)], RED_GREEN, "ground red green", "1-"),
        ([NUMBERS], RED_GREEN, "ground red green", "012-"),  # greys that are no colours of classes are numbers
        ([np.uint8([[0, 255]])], "a 0 0 0\nb 255 255 255", "a b", "01"),
        ([Image.fromarray(np.array([[True, False]]))], "a 255 255 255\nb 0 0 0", "a b", "01"),
        ([np.uint8([[0, 50, 200]])], "a 50 50 50\nb 200 200 200\nc 0 0 0", "a b c", "201"),
        ([with_palette([[1, 2]], RED_FIRST), np.uint8([[1, 2]])], "a\nb\nc", "a b c", "12 12"),
        ([np.uint8([[0, 255]])], "sky\nsea", "sky sea", "01"),
        ([np.uint8([[0, 255]]), np.uint8([[0, 1]])], "sky\nsea", "sky sea", "0- 01"),
        ([np.uint8([[0, 255]])], "sky\nsea\nland", "sky sea land", "0-"),
        ([np.uint16([[0, 65535]])], None, "background object", "01"),
        ([Image.fromarray(np.array([[True, False]]))], None, "0 1", "10"),
        ([Image.fromarray(np.array([[True, False]])), np.uint8([[0, 255]])], None, "background object", "10 01"),
        ([np.uint8([[[0] * 3, [255] * 3]])], None, "background object", "01"),  # grey in three channels
        ([np.uint8([[[0] * 3 + [255], [1] * 3 + [255]]])], None, "0 1", "01"),  # and one of transparency
        ([NUMBERS], None, "0 1 2", "012-"),
    ],
)
def test_masks_are_read_by_colour_where_colours_are_given_and_by_number_otherwise(
    tmp_path, masks, classes, names, expected
):
    found, pixels = classes_of(write_one_mask(tmp_path, *masks, classes=classes))
    assert found == tuple(names.split())
    assert [[255 if k == "-" else int(k) for k in row] for row in expected.split()] == [row[0] for row in pixels]


@pytest.mark.parametrize(
    ("masks", "classes", "message"),
    [
        ([disc(), disc(30)], None, "black and white with soft edges"),
        ([disc(), disc(30)], "a\nb", "black and white with soft edges"),
        ([np.uint8([[0, 0, 128, 255, 255]])], None, "hold the numbers 0 128, first in"),
        ([np.uint8([[0, 80, 160]])], None, "hold the numbers 0 80 160, first in .*0.png: classes are numbered"),
        ([np.uint8([[255, 255]])], None, "hold only 255, which is for no class"),
        ([np.uint8([[255, 255]])], "a\nb\nc", "hold only 255, which is for no class"),
        (
            [with_palette([[1, 2]], RED_FIRST), with_palette([[1]], GREEN_FIRST)],
            None,
            "1.png has a different palette .number 1 has the colour 0 255 0, but 255 0 0 in other masks",
        ),
        (
            [with_palette([[1]], RED_FIRST), with_palette([[2]], GREEN_FIRST)],
            "a\nb\nc",
            "number 2 has the colour 255 0 0, which has another number in other masks",
        ),
    ],
)
def test_masks_whose_values_cannot_be_classes_are_refused(tmp_path, masks, classes, message):
    with pytest.raises(ValueError, match=message) as caught:
        recognise(write_one_mask(tmp_path, *masks, classes=classes))
    assert "\n" not in str(caught.value)


def test_a_mask_that_is_jpeg_whatever_its_name_is_refused(tmp_path):
    write_one_mask(tmp_path, np.zeros((8, 8), np.uint8))
    Image.new("L", (8, 8)).save(tmp_path / "masks" / "0.png", format="JPEG")
    with pytest.raises(ValueError, match=r"0.png is a mask stored as JPEG, which changes class numbers"):
        recognise(tmp_path)


@pytest.mark.parametrize(
    ("classes", "ignore", "given", "names", "expected"),
    [
        (None, 3, None, "0 1 2", "012---"),
        (None, "1", None, "0 2 3", "0-12--"),
        (None, "1", ["a", "b", "c"], "a b c", "0-12--"),
        ("a\nb\nc\nvoid", "void", None, "a b c", "012---"),
        ("a\nvoid\nb\nc", "void", ["c", "b", "a", "z"], "c b a z", "2-10--"),
        ("a\nb\nc", 3, None, "a b c", "012---"),  # a number that no line names
    ],
)
def test_another_class_than_255_can_be_one_that_does_not_count(tmp_path, classes, ignore, given, names, expected):
    write_one_mask(tmp_path, np.uint8([[0, 1, 2, 3, 255, 255]]), classes=classes)
    found, pixels = classes_of(tmp_path, ignore=ignore, classes=given)
    assert found == tuple(names.split())
    assert pixels == [[[255 if k == "-" else int(k) for k in expected]]]


def test_a_colour_can_be_one_that_does_not_count(tmp_path):
    masks = [np.uint8([[[0, 0, 0], [255, 0, 0], [0, 255, 0], [9, 9, 9]]])]
    write_one_mask(tmp_path, *masks, classes=RED_GREEN)
    assert classes_of(tmp_path, ignore="9 9 9") == (("ground", "red", "green"), [[[0, 1, 2, 255]]])
    (tmp_path / "classes.txt").write_text(RED_GREEN + "\nvoid 9 9 9")
    for ignore in ("9,9,9", "void", 3):
        assert classes_of(tmp_path, ignore=ignore) == (("ground", "red", "green"), [[[0, 1, 2, 255]]])
    for ignore in ("viod", "1 2", "300"):
        with pytest.raises(
            ValueError, match=r"ignore is a class \(ground, red, green, void\), its number, or with colo"
        ):
            recognise(tmp_path, ignore=ignore)
    with pytest.raises(ValueError, match="ignore is for masks, and .* holds class folders"):
        recognise(touch(tmp_path / "c", "a/1.jpg", "b/1.jpg"), ignore=1)


@pytest.mark.parametrize(
    ("images", "masks", "said"),
    [
        (["1", "2", "10"], ["1_mask", "2_mask", "10_mask"], "image names by '_mask'"),
        (["d/1", "d/2"], ["d/GT-1-seg", "d/GT-2-seg"], "image names by 'GT- -seg'"),
        (["0001TP_1", "0001TP_2"], ["0001TP_1_L", "0001TP_2_L"], "image names by '_L'"),
        (["img_01", "img_02"], ["mask_01", "mask_02"], "image names by 'mask_0' for 'img_0'"),
        (["a_left8bit", "b_left8bit"], ["a_ids", "b_ids"], "image names by '_ids' for '_left8bit'"),
        (["cat"], ["cat_gt"], "image names by '_gt'"),
    ],
)
def test_what_all_masks_have_in_their_names_besides_is_passed_over_and_said(tmp_path, images, masks, said):
    touch(tmp_path, "classes.txt", *(f"images/{name}.jpg" for name in images), *(f"masks/{n}.png" for n in masks))
    (tmp_path / "classes.txt").write_text("a\nb")
    layout = recognise(tmp_path)
    found = dict(zip(layout.splits["train"].images, layout.splits["train"].partners, strict=True))
    assert found == {f"images/{one}.jpg": f"masks/{two}.png" for one, two in zip(images, masks, strict=True)}
    assert layout.notes[0].endswith(said)


@pytest.mark.parametrize(
    ("images", "masks"), [(["01", "02"], ["11", "12"]), (["1", "2"], ["11", "12"]), (["cat"], ["dog_mask"])]
)
def test_names_that_differ_by_more_are_not_taken_for_one(tmp_path, images, masks):
    touch(tmp_path, *(f"images/{name}.jpg" for name in images), *(f"masks/{n}.png" for n in masks))
    with pytest.raises(ValueError, match=rf"images/{images[0]}.jpg has no mask: expected masks/{images[0]}\.\*"):
        recognise(tmp_path)


def test_a_mask_that_is_missing_is_named_as_the_others_are(tmp_path):
    touch(tmp_path, *(f"images/{i}.jpg" for i in range(4)), *(f"masks/{i}_mask.png" for i in range(3)))
    with pytest.raises(ValueError, match=r"images/3.jpg has no mask: expected masks/3_mask\.\*"):
        recognise(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("train", "trainannot", "val", "valannot"),
        ("train_images", "train_masks", "val_images", "val_masks"),
        ("Train", "Train_labels", "validation", "validation_labels"),
        ("images_train", "masks_train", "images-val", "masks-val"),
    ],
)
def test_the_split_may_be_in_the_names_of_the_folders_of_images_and_masks(tmp_path, names):
    for name in names:
        touch(tmp_path, f"{name}/1.png")
    (tmp_path / "classes.txt").write_text("a\nb")
    layout = recognise(tmp_path)
    assert (layout.kind, sizes(layout)) == ("images with masks", {"train": 1, "val": 1})
    assert layout.splits["train"].partners[0] == f"{names[1]}/1.png"
    with pytest.raises(ValueError, match="holds images with masks .*for task segment, not classify"):
        recognise(tmp_path, task="classify")


def test_images_and_masks_go_together_by_name_whatever_its_end(tmp_path):
    touch(tmp_path, "images/my é.jpg", "images/deep/b.jpg", "masks/deep/b.png", "masks/my é.tif")
    (tmp_path / "classes.txt").write_text("sky\nsea \n\n", encoding="utf-8-sig")
    layout = recognise(tmp_path)
    assert layout.class_names == ("sky", "sea")
    assert images(layout) == ["images/my é.jpg", "images/deep/b.jpg"]
    assert list(layout.splits["train"].partners) == ["masks/my é.tif", "masks/deep/b.png"]


def test_the_two_folders_may_be_split_within_or_without(tmp_path):
    for split in ("train", "valid"):
        touch(tmp_path, f"a/images/{split}/1.jpg", f"a/masks/{split}/1.png")
        touch(tmp_path, f"b/{split}/images/1.jpg", f"b/{split}/masks/1.png")
    touch(tmp_path, "a/images/test/1.jpg", "b/test/images/1.jpg")
    for name, left in (("a", "images/test left out: it has no counterpart"), ("b", "test left out: it lacks images/")):
        (tmp_path / name / "classes.txt").write_text("x\ny")
        layout = recognise(tmp_path / name)
        assert sizes(layout) == {"train": 1, "val": 1} and left in layout.notes[0]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("masks/2.png", r"images/2.jpg has no mask: expected masks/2.*; add it"),
        ("images/2.jpg", r"masks/2.png has no image: expected images/2.*; add it"),
    ],
)
def test_a_missing_partner_is_an_error_of_one_line(tmp_path, missing, message):
    touch(tmp_path, "images/1.jpg", "images/2.jpg", "masks/1.png", "masks/2.png", "classes.txt")
    (tmp_path / missing).unlink()
    with pytest.raises(ValueError, match=message) as caught:
        recognise(tmp_path)
    assert "\n" not in str(caught.value)


def test_two_images_of_one_name_and_lossy_masks_are_refused(tmp_path):
    touch(tmp_path, "a/images/1.jpg", "a/images/1.png", "a/masks/1.png")
    with pytest.raises(ValueError, match="images/1.jpg and images/1.png have the same name"):
        recognise(tmp_path / "a")
    touch(tmp_path, "b/images/1.jpg", "b/masks/1.jpg")
    with pytest.raises(ValueError, match="1.jpg is a mask stored as JPEG, which changes class numbers"):
        recognise(tmp_path / "b")


def test_without_names_classes_are_the_numbers_in_the_masks(tmp_path):
    touch(tmp_path, "images/1.jpg", "images/2.jpg")
    save_mask(tmp_path / "masks" / "1.png", np.uint8([[0, 255], [1, 1]]))
    save_mask(tmp_path / "masks" / "2.png", np.uint16([[3, 0]]))
    layout = recognise(tmp_path)
    assert layout.class_names == ("0", "1", "2", "3")
    assert layout.notes == ["masks hold class numbers 0 to 3 (2 in no mask); 255 is ignored"]
    assert recognise(tmp_path, classes=list("abcde")).class_names == tuple("abcde")
    with pytest.raises(ValueError, match="classes lists 3, but the masks in .* hold 4"):
        recognise(tmp_path, classes=list("abc"))


def test_black_and_white_masks_are_background_and_object(tmp_path):
    touch(tmp_path, "images/1.jpg", "images/2.jpg")
    for name in "12":
        save_mask(tmp_path / "masks" / f"{name}.png", np.uint8([[0, 255]]))
    layout = recognise(tmp_path)
    assert layout.class_names == ("background", "object") and layout.code.binary
    assert layout.notes == ["masks are black and white: 0 is background, 255 is object"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no lines"),
        ("a\n\nb", "has an empty line"),
        ("a\na", "has the class a twice"),
        ("a 1 2 3\nb 1 2 3", "has the colour"),
        ("a 1 2 3\nb", "gives colours to 1 of 2 classes"),
        ("\n".join(map(str, range(60_000))), "has 60000 classes: a mask can hold at most 255"),
    ],
)
def test_a_wrong_classes_file_is_refused(tmp_path, text, message):
    touch(tmp_path, "images/1.jpg", "masks/1.png")
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(ValueError, match=f"classes.txt {message}"):
        recognise(tmp_path)


# Pascal VOC


def write_annotation(folder, name, boxes, size=(50, 100), text=None):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(voc_xml(boxes, size) if text is None else text, encoding="utf-8")
    return folder


def test_whole_pixels_of_voc_are_counted_from_one_and_the_last_is_inside(tmp_path):
    text = """<annotation><filename>other.jpg</filename><size><width>100</width><height>50</height></size>
    <object><name> dog </name><bndbox><xmin>1</xmin><ymin>11</ymin><xmax>100</xmax><ymax>20</ymax></bndbox></object>
    <object><name>cat</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object>
    </annotation>"""
    write_annotation(touch(tmp_path, "images/a b.jpg"), "annotations/a b.xml", [], text=text)
    layout = recognise(tmp_path)
    assert layout.class_names == ("cat", "dog")
    listing = layout.splits["train"]
    assert listing.boxes[0].tolist() == [[0, 10, 100, 20, 1], [4, 4, 5, 5, 0]] and listing.sizes.tolist() == [[50, 100]]
    (tmp_path / "classes.txt").write_text("dog\nbird\ncat\n")
    assert recognise(tmp_path).splits["train"].boxes[0][:, 4].tolist() == [0, 2]
    assert recognise(tmp_path, classes=["cat", "bird", "dog"]).splits["train"].boxes[0][:, 4].tolist() == [2, 0]
    (tmp_path / "classes.txt").write_text("dog\ncut\n")
    with pytest.raises(ValueError, match="a b.xml has an object 'cat', which is not in classes.txt; did you mean cut"):
        recognise(tmp_path)


def test_annotations_may_lie_beside_their_images_and_an_image_may_have_no_object(tmp_path):
    for split in ("train", "test"):
        write_annotation(touch(tmp_path, f"{split}/1.jpg"), f"{split}/1.xml", [("x", (1, 2, 3, 4))])
    write_annotation(touch(tmp_path, "train/2.jpg"), "train/2.xml", [])
    layout = recognise(tmp_path)
    assert sizes(layout) == {"train": 2, "test": 1} and layout.splits["train"].boxes[1].shape == (0, 5)
    for folder in ("flat", "inner/images"):
        write_annotation(touch(tmp_path, f"{folder}/1.jpg"), f"{folder}/1.xml", [("x", (1, 2, 3, 4))])
    assert images(recognise(tmp_path / "flat")) == ["1.jpg"]
    assert images(recognise(tmp_path / "inner")) == ["images/1.jpg"]


def test_lists_say_what_is_for_what_and_what_is_in_none_is_left_out(tmp_path):
    for stem in "abcd":
        write_annotation(touch(tmp_path, f"JPEGImages/{stem}.jpg"), f"Annotations/{stem}.xml", [(stem, (0, 0, 9, 9))])
    touch(tmp_path, "JPEGImages/not annotated.jpg")
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "trainval.txt").write_text("c\na\n")
    (lists / "test.txt").write_text("b\n")
    layout = recognise(tmp_path)
    assert images(layout) == ["JPEGImages/c.jpg", "JPEGImages/a.jpg"] and images(layout, "test") == ["JPEGImages/b.jpg"]
    (lists / "train.txt").write_text("d\n")
    (lists / "val.txt").write_text("a\n")
    assert sizes(recognise(tmp_path)) == {"train": 1, "val": 1, "test": 1}
    (lists / "val.txt").write_text("not annotated\n")
    with pytest.raises(ValueError, match="val.txt lists 'not annotated', but there is no annotation Annot"):
        recognise(tmp_path)


BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object>", "no element found"),
        ("", "no element found"),
        (BOMB, "it defines a document type"),
        (BOMB.encode("utf-16"), "it defines a document type"),
        ("<annotation><object><name>a</name></object></annotation>", "object 1, 'a', has no bndbox with xmin"),
        (voc_xml([("a", (1, 2, 3, 4))]).replace("<xmax>3", "<xmax>three"), "xmax of object 1, 'a', is 'three', not"),
        ("<annotation>" + " " * 2**24 + "</annotation>", "larger than 16 MiB"),
    ],
)
def test_a_malformed_annotation_is_named(tmp_path, text, message):
    touch(tmp_path, "images/my é.jpg", "annotations/my é.xml")
    (tmp_path / "annotations" / "my é.xml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=rf"my é.xml cannot be read as an annotation of Pascal VOC \(.*{message}"):
        recognise(tmp_path)


def test_boxes_that_cannot_be_meant_are_left_out_or_cut_off_and_mentioned(tmp_path):
    good = (10, 10, 20, 20)
    boxes = [good, (5, 5, 5, 9), (9, 9, 3, 3), (float("nan"), 0, 5, 5), (100, 0, 110, 9), (-9, -9, 0, 0)]
    boxes += [(90, 40, 120, 60), (-1, -1, 100.4, 50)]
    for i, given in enumerate((boxes, [good])):
        write_annotation(touch(tmp_path, f"images/{i}.jpg"), f"annotations/{i}.xml", [("a", box) for box in given])
    layout = recognise(tmp_path)
    kept = layout.splits["train"].boxes[0][:, :4].tolist()
    assert kept == [[10, 10, 20, 20], [90, 40, 100, 50], [0, 0, 100, 50]]
    assert sorted(layout.notes) == [
        "1 boxes clipped at the border of their image (first: images/0.jpg)",
        "1 boxes left out: they are not finite numbers (first: images/0.jpg)",
        "2 boxes left out: they are outside their image (first: images/0.jpg)",
        "2 boxes left out: they have no area (first: images/0.jpg)",
    ]


# COCO


def coco(images=(), annotations=(), categories=((7, "dog"), (3, "cat"))):
    return {
        "images": [{"id": number, "file_name": name, "height": 50, "width": 100} for number, name in images],
        "annotations": [
            {"id": i, "image_id": image, "category_id": kind, "bbox": box, "iscrowd": 0, "segmentation": [[1, 2, 3]]}
            for i, (image, kind, box) in enumerate(annotations)
        ],
        "categories": [{"id": number, "name": name} for number, name in categories],
    }


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def test_coco_ids_may_have_gaps_and_boxes_are_corner_and_size(tmp_path):
    content = coco(
        [(5, "a.jpg"), (2, "./é b.jpg")], [(2, 7, [10, 20, 30, 5.5]), (2, 3, [0, 0, 1, 1]), (2, 3, [9, 9, 2, 2])]
    )
    content["annotations"][2]["iscrowd"] = 1
    write_json(tmp_path / "labels.json", content)
    touch(tmp_path, "images/a.jpg", "images/é b.jpg")
    layout = recognise(tmp_path)
    listing = layout.splits["train"]
    assert layout.class_names == ("cat", "dog") and list(listing.images) == ["images/a.jpg", "images/é b.jpg"]
    assert listing.boxes[0].shape == (0, 5)
    assert listing.boxes[1].tolist() == [[10, 20, 40, 25.5, 1], [0, 0, 1, 1, 0]]
    assert layout.notes == ["1 annotations of crowds (iscrowd) left out (first: labels.json)"]


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("annotations/instances_train2017.json", "train2017/1.jpg"),
        ("annotations/instances_train.json", "images/train/1.jpg"),
        ("train/_annotations.coco.json", "train/1.jpg"),
        ("instances_train.json", "1.jpg"),
        ("annotations/my_training.json", "images/1.jpg"),
        ("annotations/instances_train2017.json", "images/train2017/1.jpg"),
    ],
)
def test_images_of_coco_are_found_where_people_put_them(tmp_path, name, image):
    write_json(tmp_path / name, coco([(1, "1.jpg")]))
    other = name.replace("train", "val", 1) if "train/" not in name else name.replace("train/", "valid/")
    write_json(tmp_path / other.replace("valing", "valid"), coco([(1, "1.jpg")]))
    other_image = image.replace("train", "val") if "train/_" not in name else "valid/1.jpg"
    touch(tmp_path, image, other_image)
    write_json(tmp_path / "annotations" / "captions.json", {"images": [], "annotations": []})
    if "instances" in name:
        write_json(tmp_path / "annotations" / "keypoints_train.json", coco(categories=[(1, "person")]))
    layout = recognise(tmp_path)
    assert {split: images(layout, split) for split in layout.splits} == {"train": [image], "val": [other_image]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"labels.json cannot be read as JSON"),
        (coco([(1, "gone.jpg")]), r"labels.json: image gone.jpg does not exist: looked in \./"),
        (coco([(1, "../a.jpg")]), r"image ../a.jpg does not exist"),
        (coco([(1, "a.jpg")], [(9, 7, [1, 1, 1, 1])]), "annotation 0 has the image_id 9, which is not listed"),
        (coco([(1, "a.jpg")], [(1, 9, [1, 1, 1, 1])]), "annotation 0 has the category_id 9, which is not listed"),
        (
            coco([(1, "a.jpg")], [(1, 7, [1, 1, 1])]),
            r"annotation 0 has the bbox \[1, 1, 1\]: expected x y width height",
        ),
        (coco([(1, "a.jpg")], [(1, 7, None)]), "annotation 0 has no bbox, and no polygon to take it from"),
        (coco([(1, "a.jpg")], categories=[]), "has no categories"),
        (coco([(1, "a.jpg")], categories=[(1, "x"), (2, "x")]), "two categories 'x'"),
        (
            {"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1, "name": "a"}]},
            "image 1 has no file_name",
        ),
    ],
)
def test_a_wrong_json_file_is_named(tmp_path, content, message):
    write_json(tmp_path / "labels.json", content)
    touch(tmp_path, "a.jpg")
    with pytest.raises(ValueError, match=message):
        recognise(tmp_path)


def test_json_files_have_to_agree_and_to_be_one_a_split(tmp_path):
    touch(tmp_path, "a.jpg")
    write_json(tmp_path / "train.json", coco([(1, "a.jpg")]))
    write_json(tmp_path / "val.json", coco([(1, "a.jpg")], [(1, 2, [1, 1, 5, 5])], [(1, "cat"), (2, "cow")]))
    with pytest.raises(ValueError, match="val.json: its categories are not those of train.json, which lacks 'cow'"):
        recognise(tmp_path)
    write_json(tmp_path / "val.json", coco([(1, "a.jpg")]))
    write_json(tmp_path / "all.json", coco([(1, "a.jpg")]))
    assert recognise(tmp_path).notes == ["all.json left out: its name does not say which split it is for"]
    write_json(tmp_path / "training.json", coco([(1, "a.jpg")]))
    with pytest.raises(ValueError, match="two JSON files for train, train.json and training.json"):
        recognise(tmp_path)


# Pairs


def test_pairs_may_be_split_within_or_without_and_need_their_partner(tmp_path):
    touch(tmp_path, "a/A/train/1.jpg", "a/A/val/2.jpg", "a/B/train/1.png", "a/B/val/2.png")
    assert sizes(recognise(tmp_path / "a")) == {"train": 1, "val": 1}
    touch(tmp_path, "b/A/1.jpg", "b/B/1.jpg", "b/A/2.jpg")
    with pytest.raises(ValueError, match=r"A/2.jpg has no target: expected B/2.*; add it, or take the source out"):
        recognise(tmp_path / "b")


def test_the_split_of_pairs_may_be_in_the_names_of_the_folders(tmp_path):
    touch(tmp_path / "a", "trainA/1.jpg", "trainB/1.png", "testA/2.jpg", "testB/2.jpg", "valA/3.jpg")
    assert sizes(recognise(tmp_path / "a")) == {"train": 1, "test": 1}
    assert recognise(tmp_path / "a").notes == ["folder valA left out: it has no counterpart"]
    with pytest.raises(ValueError, match="for task translate, not classify"):
        recognise(tmp_path / "a", task="classify")
    touch(tmp_path / "b", "trainA/horse.jpg", "trainB/zebra.png")
    for task in (None, "classify"):
        with pytest.raises(
            ValueError, match="no image in .*trainA has the name of one in .*trainB: translate learns f"
        ):
            recognise(tmp_path / "b", task=task)


def test_letters_that_are_classes_are_no_pairs(tmp_path):
    assert recognise(touch(tmp_path / "a", "A/1.jpg", "B/1.jpg", "C/1.jpg")).class_names == ("A", "B", "C")
    assert recognise(touch(tmp_path / "b", "A/1.jpg", "B/2.jpg")).class_names == ("A", "B")


def test_two_images_in_one_file_are_known_by_their_proportions(tmp_path):
    for i in range(3):
        save_mask(tmp_path / "a" / f"{i}.png", np.zeros((20, 40, 3), np.uint8))
        save_mask(tmp_path / "b" / f"{i}.png", np.zeros((20, 30, 3), np.uint8))
    layout = recognise(tmp_path / "a")
    assert (layout.kind, layout.task, sizes(layout)) == ("pairs of images side by side", "translate", {"train": 3})
    with pytest.raises(ValueError, match="holds 3 images; what can be trained on"):
        recognise(tmp_path / "b")
    assert sizes(recognise(write_pairs(tmp_path / "c", split=True, joined=True))) == {"train": 12, "val": 6, "test": 6}


# Gathering instead of stopping


def test_problems_can_be_gathered_and_their_files_left_out(tmp_path):
    touch(tmp_path, "images/1.jpg", "images/2.jpg", "masks/1.png", "masks/3.png", "classes.txt")
    (tmp_path / "classes.txt").write_text("a\nb")
    findings = Findings(strict=False)
    layout = recognise(tmp_path, findings=findings)
    assert images(layout) == ["images/1.jpg"]
    assert [(finding.what, finding.count) for finding in findings.of("error")] == [
        ("files without their mask", 1),
        ("files without their image", 1),
    ]


def test_a_listing_of_some_of_its_images_keeps_what_belongs_to_them(tmp_path):
    listing = recognise(write_voc(tmp_path)).splits["train"]
    part = listing.subset([5, 0])
    assert list(part.images) == [listing.images[5], listing.images[0]] and part.image(0) == listing.image(5)
    assert torch.equal(part.boxes[0], listing.boxes[5]) and torch.equal(part.boxes[1], listing.boxes[0])
    assert part.sizes.tolist() == [[48, 40]] * 2 and part.labels is None and part.partners is None


def test_of_vocs_lists_trainval_without_val_is_for_training(tmp_path):
    write_voc(tmp_path, split=True)
    lists = tmp_path / "ImageSets" / "Main"
    trained, held_out = ((lists / f"{name}.txt").read_text() for name in ("train", "val"))
    (lists / "trainval.txt").write_text(trained + held_out)
    (lists / "train.txt").unlink()
    splits = recognise(tmp_path).splits
    assert {split: len(listing) for split, listing in splits.items()} == {"train": 12, "val": 6, "test": 6}
    (lists / "trainval.txt").unlink()
    assert recognise(tmp_path).splits.keys() == {"val", "test"}  # enough to measure on


def test_a_and_b_may_be_classes_where_those_are_wanted(tmp_path):
    write_pairs(tmp_path)
    assert recognise(tmp_path).task == "translate"
    assert recognise(tmp_path, task="classify").class_names == ("A", "B")
    with pytest.raises(ValueError, match="holds pairs of images in A and B .24 train., for task translate, not detect"):
        recognise(tmp_path, task="detect")


def test_masks_of_0_and_255_are_black_and_white_only_where_two_classes_are_meant(tmp_path):
    write_masks(tmp_path, classes=False)
    for path in (tmp_path / "masks").iterdir():
        with Image.open(path) as mask:
            values = np.array(mask)
        Image.fromarray(np.where(values > 0, 255, 0).astype(np.uint8)).save(path)
    assert recognise(tmp_path).code.binary and recognise(tmp_path, ["ground", "thing"]).code.binary
    assert not recognise(tmp_path, ["0", "1", "2"]).code.binary
    for path in (tmp_path / "masks").iterdir():
        Image.fromarray(np.zeros_like(values)).save(path)
    with pytest.raises(ValueError, match="hold class 0 only: there is nothing to learn"):
        recognise(tmp_path)


@pytest.mark.parametrize("width", ["99999999999", "-5"])
def test_a_size_that_cannot_be_is_refused(tmp_path, width):
    write_voc(tmp_path / "voc")
    path = tmp_path / "voc" / "Annotations" / "3.xml"
    path.write_text(path.read_text().replace("<width>40<", f"<width>{width}<"))
    with pytest.raises(ValueError, match=rf"3.png is annotated as {width} x 48 pixels, which cannot be"):
        recognise(tmp_path / "voc")
    write_coco(tmp_path / "coco")
    path = tmp_path / "coco" / "annotations" / "instances.json"
    path.write_text(path.read_text().replace('"width": 40', '"width": Infinity', 1))
    with pytest.raises(ValueError, match="instances.json"):
        recognise(tmp_path / "coco")
