import json

import numpy as np
import pytest
from PIL import Image

from engine.files.box_lists import UNTOLD, BoxList, is_as_stored
from engine.files.checks import check_folder
from engine.files.folders import FolderDataModule
from engine.files.layouts import recognise
from engine.inputs.folder import Findings
from tests.own_data import voc_xml, write_coco, write_voc


def listed(tmp_path, boxes, size=(50, 100), numbers="x0 y0 x1 y1", images=1, **options):
    """Return the rows that are left of the first of some images with the same (class, box), and all remarks."""
    findings = Findings(**options)
    gathered = BoxList(findings, numbers)
    for i in range(images):
        gathered.add(f"{i}.jpg", size, boxes)
    listing = gathered.listing(tmp_path)
    return listing.boxes[0].tolist() if len(listing) else None, [str(one) for one in findings.of("warning", "error")]


def corners(*numbers):
    sides = zip(("xmin", "ymin", "xmax", "ymax"), numbers, strict=True)
    box = "".join(f"<{side}>{number}</{side}>" for side, number in sides)
    return f"<annotation><object><name>red</name><bndbox>{box}</bndbox></object></annotation>"


def save_turned(path, upright, orientation):
    """Save an image such that EXIF's number says how it is to be turned to be upright."""
    back = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 6: "ROTATE_90"}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(upright).transpose(Image.Transpose[back]).save(path, exif=exif)


# What the numbers of a box mean


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((10.5, 5.25, 20.5, 15.25), [10.5, 5.25, 20.5, 15.25]),  # edges
        ((1, 2, "39.75", 20), [1, 2, 39.75, 20]),
        ((11, 6, 20, 15), [10, 5, 20, 15]),  # pixels from 1, the last one included
        (("11.0", "6", "2e1", " 15 "), [10, 5, 20, 15]),
        ((0, 0, 10, 10), [0, 0, 10, 10]),
    ],
)
def test_a_voc_box_with_a_fraction_gives_edges_and_one_of_whole_numbers_pixels(tmp_path, numbers, expected):
    write_voc(tmp_path, num=3)
    (tmp_path / "Annotations" / "0.xml").write_text(corners(*numbers))
    assert recognise(tmp_path).splits["train"].boxes[0][:, :4].tolist() == [expected]


def test_boxes_in_shares_of_the_image_are_refused_and_told_from_small_ones(tmp_path):
    shares = [(0, (0.1, 0.2, 0.5, 0.75)), (1, (0, 0, 1, 1))]
    with pytest.raises(
        ValueError, match="the boxes of 0.jpg are from 0 to 1, relative to its sides: expected x0 y0 x1"
    ):
        listed(tmp_path, shares)
    rows, said = listed(tmp_path, shares, strict=False)
    assert rows is None and said == [
        "1 annotations with boxes from 0 to 1 (first: the boxes of 0.jpg are from 0 to 1, relative to its sides: "
        "expected x0 y0 x1 y1 in pixels; multiply them by width and height)"
    ]
    assert listed(tmp_path, [*shares, (0, (3, 3, 9, 9))])[1] == []
    assert listed(tmp_path, [(0, (0, 0, 1, 1))])[1] == []


SIZES = [(0, (5, 5, 20, 20)), (0, (30, 20, 10, 12)), (0, (60, 30, 30, 15)), (1, (70, 5, 25, 30))]


@pytest.mark.parametrize("numbers", ["x0 y0 x1 y1", "x y width height"])
def test_corners_that_are_given_as_sizes_and_the_reverse_are_refused(tmp_path, numbers):
    """Image of 100 x 50. As corners, three of SIZES end before they begin."""
    boxes, other = SIZES, "x y width height"
    if numbers == "x y width height":  # (60, 20, 95, 45) is read as a box that is 95 pixels wide
        other = "x0 y0 x1 y1"
        boxes = [(k, (x, y, 2 * x + w, 2 * y + h)) for k, (x, y, w, h) in SIZES]
    with pytest.raises(ValueError, match=f"3 of 4 boxes .* numbers seem to be {other}, expected {numbers}; convert"):
        listed(tmp_path, boxes, numbers=numbers)
    right = [(k, (x, y, x + w, y + h)) for k, (x, y, w, h) in SIZES]
    assert listed(tmp_path, right, numbers=numbers)[1] == []
    assert listed(tmp_path, [*boxes, (0, (90, 40, 230, 160))], numbers=numbers)[1]  # wrong either way: left out, or cut


# Sizes


@pytest.mark.parametrize("write", [write_voc, write_coco])
def test_an_annotation_with_width_and_height_exchanged_is_refused_before_its_boxes_are_cut(tmp_path, write):
    write(tmp_path, num=6)  # images of 40 x 48
    if write is write_voc:
        for path in (tmp_path / "Annotations").iterdir():
            text = path.read_text().replace("<width>40", "<width>48").replace("<height>48", "<height>40")
            path.write_text(text)
        path = tmp_path / "Annotations" / "0.xml"
        path.write_text(voc_xml([("red", (5, 30, 20, 47))], (40, 48)))
    else:
        path = tmp_path / "annotations" / "instances.json"
        content = json.loads(path.read_text())
        for image in content["images"]:
            image.update(width=48, height=40)
        content["annotations"][0]["bbox"] = [5, 30, 15, 17]
        path.write_text(json.dumps(content))
    message = "0.png is 40 x 48 pixels, but its annotation is for 48 x 40: width and height are exchanged"
    with pytest.raises(ValueError, match=message):
        recognise(tmp_path)
    checked = check_folder(tmp_path)
    errors = checked.layout.findings.of("error")
    assert [(one.what, one.count) for one in errors] == [("images of another size than their annotation says", 6)]
    said = [one.what for one in checked.layout.findings.of("warning") if "boxes" in one.what]
    assert said == []


def test_a_box_that_only_reaches_over_the_border_of_its_image_is_cut(tmp_path):
    Image.new("L", (100, 50)).save(tmp_path / "0.jpg")  # it would fit 50 x 100, but the image is not
    rows, said = listed(tmp_path, [(0, (10, 20, 40, 60))])
    assert rows == [[10, 20, 40, 50, 0]] and said == ["1 boxes clipped at the border of their image (first: 0.jpg)"]


# Images that EXIF turns


@pytest.mark.parametrize(
    ("stated", "boxes", "orientation", "size", "expected"),
    [
        ((30, 20), [[0, 0, 5, 5]], 6, (20, 30), True),  # the size is the stored one
        ((20, 30), [[0, 0, 5, 5]], 6, (20, 30), False),
        ((0, 0), [[0, 0, 5, 25]], 6, (20, 30), True),  # no size, but the box fits only as stored
        ((0, 0), [[0, 0, 25, 5]], 6, (20, 30), False),
        ((0, 0), [[0, 0, 5, 5]], 6, (20, 30), None),
        ((20, 20), [[0, 0, 5, 5]], 6, (20, 20), None),
        ((20, 30), [[0, 0, 5, 5]], 3, (20, 30), None),
        ((20, 30), [], 3, (20, 30), False),
        ((20, 30), [[0, 0, 5, 5]], 1, (20, 30), False),
    ],
)
def test_what_boxes_of_a_turned_image_belong_to(stated, boxes, orientation, size, expected):
    assert is_as_stored(stated, np.array(boxes).reshape(-1, 4), size, orientation) is expected


@pytest.mark.parametrize(("orientation", "size"), [(2, (48, 40)), (3, (48, 40)), (4, (48, 40)), (6, (48, 48))])
def test_where_nothing_tells_boxes_belong_to_the_upright_image_and_that_is_said(tmp_path, orientation, size):
    upright = np.zeros((*size, 3), np.uint8)
    upright[5:20, 3:15] = 255
    (tmp_path / "annotations").mkdir(parents=True)
    for i in range(3):
        save_turned(tmp_path / "images" / f"{i}.png", upright, orientation if i else 6)
        boxes = [("a", (3, 5, 15, 20))] if i else []  # without boxes there is nothing to tell
        (tmp_path / "annotations" / f"{i}.xml").write_text(voc_xml(boxes, size))
    layout = recognise(tmp_path)
    assert layout.notes == [UNTOLD]
    source = layout.source(layout.splits["train"], 3)
    image, target = source.sample(1, source.read(1, size), size)
    assert np.array_equal(image, upright.transpose(2, 0, 1)) and target["boxes"].tolist() == [[3, 5, 15, 20]]
    said = {finding.what: finding.count for finding in check_folder(tmp_path).layout.findings.of("warning")}
    assert said[UNTOLD] == 2


@pytest.mark.parametrize("kind", ["no size", "the other size"])
@pytest.mark.parametrize("drawn_on_upright", [True, False])
def test_boxes_that_fit_a_turned_image_one_way_round_only_tell_which(tmp_path, kind, drawn_on_upright):
    upright = np.zeros((20, 60, 3), np.uint8)
    upright[2:8, 4:50] = 255  # wider than the stored image, which is 20 x 60 high
    save_turned(tmp_path / "images" / "1.png", upright, 6)
    box, size = ((4, 2, 50, 8), (20, 60)) if drawn_on_upright else ((2, 10, 8, 56), (60, 20))
    stated = (0, 0) if kind == "no size" else size[::-1]
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "1.xml").write_text(voc_xml([("a", box)], stated))
    layout = recognise(tmp_path)
    source = layout.source(layout.splits["train"], 3)
    _, target = source.sample(0, source.read(0, (20, 60)), (20, 60))
    assert target["boxes"].tolist() == [[4, 2, 50, 8]]
    assert len(layout.notes) == (kind == "the other size")


# Boxes that are there twice, or not at all


def test_a_box_that_is_there_again_counts_once_and_one_of_two_classes_is_said(tmp_path):
    box, other = (5, 5, 20, 20), (30, 10, 40, 20)
    rows, said = listed(tmp_path, [(0, box), (0, box), (0, other), (0, box), (1, other)])
    assert rows == [[*box, 0], [*other, 0], [*other, 1]]
    assert said == [
        "2 boxes listed twice with the same class: counted once (first: 0.jpg)",
        "1 boxes listed with two classes, one of which may be wrong (first: 0.jpg)",
    ]


def test_huge_numbers_and_none_at_all_are_left_out(tmp_path):
    boxes = [(0, (5, 5, 1e308, 20)), (0, (5, 5, float("inf"), 20)), (0, (-1e300, 3, 4, 9)), (0, (1e300, 3, 2e300, 9))]
    for size, far in (((50, 100), 100), ((0, 0), 1e6)):
        rows, _ = listed(tmp_path, boxes, size)
        assert rows == [[5, 5, far, 20, 0], [0, 3, 4, 9, 0]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"iscrowd": 1}, "annotations of crowds .iscrowd. left out"), ({"bbox": [5, 5, 0, 9]}, "they have no area")],
)
def test_data_without_a_box_to_train_on_is_refused_with_the_reason(tmp_path, change, reason):
    write_coco(tmp_path, num=8)
    path = tmp_path / "annotations" / "instances.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation.update(change)
    path.write_text(json.dumps(content))
    message = rf"none of the 8 training images has a box: .*[0-9] .*{reason}"
    with pytest.raises(ValueError, match=message):
        FolderDataModule(str(tmp_path), "detect")
    assert [one.what for one in check_folder(tmp_path).layout.findings.of("error")] == ["splits without boxes"]


def test_a_split_without_boxes_is_left_out_and_validation_images_are_held_out_then(tmp_path):
    write_voc(tmp_path, split=True)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("7\n15\n")  # every eighth shows nothing
    layout = recognise(tmp_path)
    layout.check()
    assert list(layout.splits) == ["train", "test"]
    assert layout.notes == ["val left out: none of its images has a box, so nothing could be measured"]


def test_points_and_boxes_that_all_but_cover_each_other_are_found_when_everything_is_read(tmp_path):
    boxes = [("a", (5, 5, 25, 25)), ("a", (5, 5, 25, 26)), ("b", (5, 5, 26, 25)), ("a", (30, 30, 31, 31))]
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").mkdir()
    Image.new("L", (40, 48)).save(tmp_path / "images" / "1.png")
    (tmp_path / "annotations" / "1.xml").write_text(voc_xml(boxes))
    findings = check_folder(tmp_path).layout.findings.of("warning", "note")
    assert {one.what.partition(":")[0]: one.count for one in findings if one.count} == {
        "boxes of a single pixel or less": 1,
        "boxes that nearly coincide with another of their class": 1,
    }


# Lists of Pascal VOC


@pytest.mark.parametrize(
    "lines",
    [
        ["0 1", "1 -1", "my dog  0"],
        ["JPEGImages/0.png", "./1.png", "my dog"],
        ["/data/VOC/JPEGImages/0.png /data/VOC/SegmentationClass/0.png", r"JPEGImages\1.png", "my dog.png"],
        ["0", "1", "0", "my dog.xml"],
    ],
)
def test_lines_of_a_voc_list_may_have_a_path_an_ending_and_a_flag(tmp_path, lines):
    write_voc(tmp_path, num=4)
    for folder, suffix in (("JPEGImages", "png"), ("Annotations", "xml")):
        (tmp_path / folder / f"2.{suffix}").rename(tmp_path / folder / f"my dog.{suffix}")
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(lines))
    names = ["JPEGImages/0.png", "JPEGImages/1.png", "JPEGImages/my dog.png"]
    assert list(recognise(tmp_path).splits["train"].images) == names
    (lists / "train.txt").write_text("my cat 1\n")
    with pytest.raises(ValueError, match=r"train.txt lists 'my cat 1', but there is no image JPEGImages/my cat 1.\*"):
        recognise(tmp_path)


def test_many_boxes_of_many_classes_take_no_longer_than_their_number_says(tmp_path):
    """20,000 boxes in an image and 100,000 classes: a list that is searched for each would take minutes."""
    findings = Findings()
    gathered = BoxList(findings)
    gathered.add("0.jpg", (500, 500), [(k, (k % 400, k // 400, k % 400 + 9, k // 400 + 9)) for k in range(20_000)])
    listing = gathered.listing(tmp_path, list(range(100_000)))
    assert len(listing.boxes[0]) == 20_000 and listing.boxes[0][-1, 4] == 19_999
