import numpy as np
import pytest
import torch
from PIL import Image

from engine.files import check_data
from engine.files.layouts import recognise
from engine.files.voc_masks import TASK

PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0] + [0] * 756 + [224, 224, 192]
LISTS = {"train": ("a", "b"), "val": ("c",)}


def write(folder, lists=LISTS, boxes=True, images="abcdef", masks="abcd"):
    """Images, masks of classes 0 to 2 with a border of 255, and boxes of some."""
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", *(["Annotations"] if boxes else [])):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for k, stem in enumerate(images):
        Image.new("RGB", (8, 6), (k * 9, 0, 90)).save(folder / f"JPEGImages/{stem}.jpg")
        if boxes:
            box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox>"
            text = f"<annotation><object><name>cat</name>{box}</object></annotation>"
            (folder / f"Annotations/{stem}.xml").write_text(text)
    for k, stem in enumerate(masks):
        pixels = np.zeros((6, 8), np.uint8)
        pixels[:3], pixels[3] = 1 + k % 2, 255
        mask = Image.fromarray(pixels, "P")
        mask.putpalette(PALETTE)
        mask.save(folder / f"SegmentationClass/{stem}.png")
    for split, stems in lists.items():
        (folder / f"ImageSets/Segmentation/{split}.txt").write_text("".join(f"{stem}\n" for stem in stems))
    return folder


def stems(layout):
    return {
        split: [layout.splits[split].image(i).stem for i in range(len(own))] for split, own in layout.splits.items()
    }


def test_a_folder_with_boxes_is_to_detect_unless_masks_are_asked_for(tmp_path):
    write(tmp_path)
    assert recognise(tmp_path).kind == recognise(tmp_path, task="detect").kind == "Pascal VOC"


def test_masks_are_those_of_the_lists(tmp_path):
    layout = recognise(write(tmp_path), task=TASK)
    assert (layout.kind, layout.class_names) == ("masks of Pascal VOC", ("0", "1", "2"))
    assert stems(layout) == {"train": ["a", "b"], "val": ["c"]}
    assert layout.notes[0] == "3 images left out: they have no mask, or are in no list"
    mask = layout.source(layout.splits["train"], 3).mask(1)
    assert mask[0].tolist() == [2] * 8 and mask[3].tolist() == [255] * 8 and mask[5].tolist() == [0] * 8
    named = recognise(tmp_path, ["ground", "cat", "dog"], task=TASK)
    assert named.class_names == ("ground", "cat", "dog")


def test_without_lists_every_mask_is_for_training_and_without_boxes_no_task_is_needed(tmp_path):
    layout = recognise(write(tmp_path, lists={}, boxes=False))
    assert layout.task == TASK and stems(layout) == {"train": ["a", "b", "c", "d"]}
    assert "2 images left out: they have no mask, or are in no list" in layout.notes


def test_a_label_map_names_the_classes_by_their_colours(tmp_path):
    write(tmp_path)
    text = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n"
    (tmp_path / "labelmap.txt").write_text(text)
    layout = recognise(tmp_path, task=TASK)
    assert layout.class_names == ("background", "cat", "dog")
    assert "masks are read by colour, as labelmap.txt says" in layout.notes
    source = layout.source(layout.splits["train"], 3)
    assert source.classes(0).tolist() == [0, 1] and source.classes(1).tolist() == [0, 2]
    layout = recognise(tmp_path, task=TASK, ignore="cat")
    assert layout.class_names == ("background", "dog")
    assert (torch.from_numpy(layout.source(layout.splits["train"], 3).mask(0)[:3]) == 255).all()


def test_a_list_of_images_whose_masks_are_secret_is_left_out(tmp_path):
    layout = recognise(write(tmp_path, {**LISTS, "test": ("e", "f")}), task=TASK)
    assert stems(layout) == {"train": ["a", "b"], "val": ["c"]}
    assert layout.notes[0] == "test.txt left out: none of its images has a mask"


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": ("a", "e")}, r"train.txt lists 'e', but there is no mask SegmentationClass/e\.\*: add it, or take"),
        ({"train": ("a", "x")}, r"train.txt lists 'x', but there is no image JPEGImages/x\.\*"),
    ],
)
def test_a_line_that_leads_nowhere_is_named(tmp_path, lists, message):
    with pytest.raises(ValueError, match=message):
        recognise(write(tmp_path, lists), task=TASK)


def test_check_data_says_what_it_is_and_counts_its_pixels(tmp_path, capsys):
    check_data.main([str(write(tmp_path)), "--task", TASK])
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("masks of Pascal VOC, for --task segment train pixels val pixels images 2 1 0 2")
