import json

import pytest
from PIL import Image

from engine.files.checks import check_folder
from engine.files.layouts import recognise
from engine.inputs.folder import Findings
from tests.own_data import write_coco

BOX = [5.0, 6.0, 10.0, 12.0]


def write(folder, change=None, name="labels.json", **own):
    """Write a.jpg and a file with one object in it, changed: `own` by the list that an entry is in."""
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 48, "width": 40}],
        "annotations": [{"id": 5, "image_id": 1, "category_id": 7, "bbox": BOX, "iscrowd": 0}],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    for key, fields in own.items():
        content[key][0] |= fields
    if change is not None:
        change(content)
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    Image.new("L", (40, 48)).save(folder / "a.jpg")
    return folder


def boxes(folder, split="train"):
    return recognise(folder).splits[split].boxes[0].tolist()


# Ids and numbers


@pytest.mark.parametrize(
    "own",
    [
        {"annotations": {"category_id": "7", "image_id": " 1 ", "iscrowd": None}},
        {"annotations": {"category_id": 7.0, "image_id": 1.0, "bbox": ["5", 6, "1e1", 12.0]}},
        {"images": {"id": "1", "height": "48", "width": 40.0}, "categories": {"id": "7"}},
        {"images": {"id": "photo 1"}, "annotations": {"image_id": "photo 1", "id": None}},
        {"images": {"id": 10**30}, "annotations": {"image_id": str(10**30)}},
        {"images": {"id": -1}, "annotations": {"image_id": "-1"}},
        {"categories": {"id": "dog's"}, "annotations": {"category_id": "dog's"}},
    ],
)
def test_ids_and_numbers_may_be_text(tmp_path, own):
    (row,) = boxes(write(tmp_path, **own))
    assert row[:4] == [5, 6, 15, 18] and recognise(tmp_path).class_names[int(row[4])] == "dog"


@pytest.mark.parametrize(
    ("key", "fields", "message"),
    [
        ("annotations", {"image_id": None}, "annotation 5 has the image_id None: expected a whole number, or a text"),
        ("annotations", {"image_id": True}, "annotation 5 has the image_id True: expected a whole"),
        ("annotations", {"category_id": [7]}, r"annotation 5 has the category_id \[7\]: expected"),
        ("annotations", {"category_id": 7.5}, "annotation 5 has the category_id 7.5: expected"),
        ("annotations", {"bbox": [1, 2, "x", 4]}, r"annotation 5 has the bbox \[1, 2, 'x', 4\]: 'x' is not a number"),
        ("annotations", {"bbox": [1, 2, None, 4]}, "annotation 5 has the bbox .*: None is not a number"),
        ("annotations", {"bbox": [True, 2, 3, 4]}, "annotation 5 has the bbox .*: True is not a number"),
        ("annotations", {"bbox": {"x": 1}}, "annotation 5 has the bbox {'x': 1}: expected x y width height"),
        ("annotations", {"bbox": [], "id": {}}, "annotation at place 0 has no bbox, and no polygon to take it from"),
        (
            "annotations",
            {"bbox": None, "segmentation": {"counts": "12", "size": [4, 4]}},
            "annotation 5 has no bbox, and",
        ),
        ("annotations", {"bbox": None, "segmentation": [[1, 2, 3]]}, "annotation 5 has no bbox, and no polygon"),
        ("images", {"file_name": None}, "image 1 has the file_name None: expected a text"),
        ("images", {"file_name": ["a.jpg"]}, r"image 1 has the file_name \['a.jpg'\]: expected a text"),
        ("images", {"height": "tall"}, "image 1 has the height 'tall': 'tall' is not a number"),
        ("images", {"width": 40.5}, "image 1 has the width 40.5: expected a whole number of pixels"),
        ("images", {"width": 10**400}, "image 1 has the width .*: expected a whole number of pixels"),
        ("images", {"width": -5}, "a.jpg is annotated as -5 x 48 pixels"),
        ("images", {"id": None}, "image at place 0 has the id None: expected a whole number, or a text"),
        ("categories", {"name": " "}, "category 7 has the name ' ': expected a text"),
        ("categories", {"name": None}, "category 7 has the name None: expected a text"),
        ("categories", {"name": "\ud800"}, r"category 7 has the name '\\ud800': expected a text"),
        ("categories", {"id": 3}, "two categories of the id 3"),
    ],
)
def test_what_is_wrong_with_an_entry_is_named_with_it(tmp_path, key, fields, message):
    write(tmp_path, **{key: fields})
    with pytest.raises(ValueError, match=f"labels.json: .*{message}") as caught:
        recognise(tmp_path)
    assert len(str(caught.value)) < len(str(tmp_path)) + 250


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(images={}), "its images are {}: expected a list"),
        (lambda c: c.update(annotations=None), "its annotations are None: expected a list"),
        (lambda c: c["annotations"].append(3), "annotation at place 1 is 3, not a mapping"),
        (lambda c: c["categories"].append({"name": "x"}), "category at place 2 has no id"),
        (lambda c: c.pop("categories"), "has boxes like a COCO file, but no categories: add that"),
        (lambda c: c["images"].append({"id": 1, "file_name": "b.jpg"}), "it has two images of the id 1"),
    ],
)
def test_lists_that_are_none_and_ids_that_are_there_twice_are_named(tmp_path, change, message):
    with pytest.raises(ValueError, match=f"labels.json:? {message}"):
        recognise(write(tmp_path, change))


def test_numbers_that_no_image_has_are_left_out_and_annotations_that_cannot_be_read_are_gathered(tmp_path):
    def change(content):
        for bbox in (["1e400", 1, 2, 3], [10**400, 1, 2, 4], [float("nan"), 1, 2, 3], [1, 2, 3], None):
            content["annotations"].append({"id": 9, "image_id": 1, "category_id": 7, "bbox": bbox})

    findings = Findings(strict=False)
    layout = recognise(write(tmp_path, change), findings=findings)
    assert layout.splits["train"].boxes[0].tolist() == [[5, 6, 15, 18, 1]]
    assert [(one.what, one.count) for one in findings.of("warning", "error")] == [
        ("annotations of labels.json that cannot be read", 2),
        ("boxes left out: they are not finite numbers", 3),
    ]


@pytest.mark.parametrize("bbox", [None, [], [0, 0, 0, 0], "absent"])
@pytest.mark.parametrize("polygon", [[[5, 6, 15, 6, 15, 18.5]], [[5, 6, 9, 6, 5, 9], [15, 18.5, 9, 9, 8, 8]]])
def test_a_box_that_is_missing_is_that_of_the_polygons(tmp_path, bbox, polygon):
    def change(content):
        content["annotations"][0] |= {"bbox": bbox, "segmentation": polygon}
        if bbox == "absent":
            del content["annotations"][0]["bbox"]

    assert boxes(write(tmp_path, change)) == [[5, 6, 15, 18.5, 1]]
    assert recognise(tmp_path).notes == [
        "1 annotations without a bbox: it is taken from their polygon (first: labels.json)"
    ]


def test_an_image_that_is_listed_under_two_ids_has_the_boxes_of_both(tmp_path):
    def change(content):
        content["images"].append({"id": 2, "file_name": "./a.jpg"})
        content["annotations"] += [
            {"id": 6, "image_id": 2, "category_id": 3, "bbox": [1, 1, 5, 5]},
            {"id": 7, "image_id": 2, "category_id": 7, "bbox": BOX},
        ]

    listing = recognise(write(tmp_path, change)).splits["train"]
    assert list(listing.images) == ["a.jpg"] and listing.sizes.tolist() == [[48, 40]]
    assert listing.boxes[0].tolist() == [[5, 6, 15, 18, 1], [1, 1, 6, 6, 0]]


# Categories


def test_categories_of_another_split_are_matched_by_name(tmp_path):
    write(tmp_path, name="train.json")
    other = [{"id": 70, "name": "dog"}, {"id": 7, "name": "cow"}, {"id": 1, "name": "cat"}]

    def change(content):
        content["categories"] = other  # nothing is a cow
        content["annotations"][0]["category_id"] = 70

    write(tmp_path, change, "val.json")
    layout = recognise(tmp_path)
    assert layout.class_names == ("cat", "dog")
    assert layout.splits["val"].boxes[0].tolist() == layout.splits["train"].boxes[0].tolist() == [[5, 6, 15, 18, 1]]
    other.pop()  # a class that only the training images have
    write(tmp_path, change, "val.json")
    assert boxes(tmp_path, "val") == [[5, 6, 15, 18, 1]]


def test_of_two_categories_of_a_name_the_one_that_is_used_counts(tmp_path):
    def change(content):
        content["categories"].append({"id": 0, "name": "dog"})

    assert recognise(write(tmp_path, change)).class_names == ("cat", "dog") and boxes(tmp_path)[0][4] == 1


def test_a_hundred_thousand_categories_are_read_one_by_one(tmp_path):
    """Comparing each with all others would take minutes."""

    def change(content):
        content["categories"] = [{"id": i, "name": f"class {i}"} for i in range(100_000)]

    assert boxes(write(tmp_path, change)) == [[5, 6, 15, 18, 7]]


# Where images are


@pytest.mark.parametrize(
    ("listed", "there"),
    [
        ("images\\0.png", "images/0.png"),
        ("images\\1/1.png", "images/1/1.png"),
        ("..\\..\\media\\upload\\4\\0.png", "images/0.png"),
        ("C:\\data\\0.png", "pictures/0.png"),
        ("/home/me/data/0.png", "images/0.png"),
        ("upload/0.PNG", "images/0.png"),
        ("data/deep/0.png", "x/deep/0.png"),
        ("../images/0.png", "images/0.png"),  # from the folder of the JSON file
    ],
)
def test_paths_from_elsewhere_are_found_by_their_end(tmp_path, listed, there):
    write(tmp_path / "annotations", images={"file_name": listed})
    (tmp_path / "annotations" / "a.jpg").unlink()
    for name in (there, "other/9.png", *(["y/0.png"] if "deep" in there else [])):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 48)).save(tmp_path / name)
    layout = recognise(tmp_path)
    assert list(layout.splits["train"].images) == [there]
    assert bool(layout.notes) == (listed != "../images/0.png")


@pytest.mark.parametrize("listed", ["../a.jpg", "x/../../a.jpg", "../data/a.jpg", "/etc/b.jpg", "b.jpg"])
def test_a_path_out_of_the_folder_is_not_followed(tmp_path, listed):
    for name in ("a.jpg", "b.jpg"):
        Image.new("L", (40, 48)).save(tmp_path / name)
    write(tmp_path / "data", images={"file_name": listed})
    with pytest.raises(ValueError, match=f"image {listed} does not exist: looked in ./"):
        recognise(tmp_path / "data")


def test_where_several_images_may_be_meant_that_is_said_and_those_of_the_split_go_first(tmp_path):
    write_coco(tmp_path, num=8, split=True)
    (tmp_path / "images" / "train" / "0.png").rename(tmp_path / "images" / "train" / "6.png")
    for split in ("train", "val", "test"):
        path = tmp_path / "annotations" / f"instances_{split}.json"
        content = json.loads(path.read_text())
        for image in content["images"]:
            image["file_name"] = f"upload/{image['file_name'].replace('0.png', '6.png')}"
        path.write_text(json.dumps(content))
    assert recognise(tmp_path).splits["train"].images[0] == "images/train/6.png"
    assert recognise(tmp_path).splits["test"].images[0] == "images/test/6.png"
    (tmp_path / "images" / "train").rename(tmp_path / "images" / "other")
    with pytest.raises(ValueError, match=r"6.png does not exist: looked in .*; images/other/6.png and images/test/6"):
        recognise(tmp_path)


def test_crowds_are_left_out_however_they_are_encoded(tmp_path):
    def change(content):
        content["annotations"].append(
            {"id": 6, "image_id": 1, "category_id": 7, "iscrowd": 1, "segmentation": {"counts": [3, 4], "size": [1, 7]}}
        )

    assert len(boxes(write(tmp_path, change))) == 1
    assert not check_folder(tmp_path).layout.findings.of("error")
