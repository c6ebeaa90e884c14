import json

import pytest
from PIL import Image

from engine.files.checks import check_folder
from engine.files.layouts import recognise
from tests.own_data import write_labelme, write_voc


def write(folder, *shapes, name="a", json_folder="", **changes):
    """Write an image of 40 x 20 pixels and its annotation, of (label, points, kind) or whole shapes."""
    whole = [
        dict(zip(("label", "points", "shape_type"), shape, strict=True)) if isinstance(shape, tuple) else shape
        for shape in shapes
    ]
    content = {"version": "5", "flags": {}, "shapes": whole, "imagePath": "..\\x.jpg"}
    content |= {"imageHeight": 20, "imageWidth": 40} | changes
    (folder / json_folder).mkdir(parents=True, exist_ok=True)
    (folder / "images").mkdir(exist_ok=True) if json_folder else None
    Image.new("L", (40, 20)).save(folder / ("images" if json_folder else "") / f"{name}.png")
    (folder / json_folder / f"{name}.json").write_text(json.dumps(content))
    return folder


DOG = ("dog", [[4, 2], [10, 8]], "rectangle")


def rows(folder):
    return recognise(folder).splits["train"].boxes[0].tolist()


@pytest.mark.parametrize("split", [False, True])
def test_the_boxes_are_those_of_another_layout(tmp_path, split):
    labelme, voc = (
        recognise(write_labelme(tmp_path / "a", split=split)),
        recognise(write_voc(tmp_path / "b", split=split)),
    )
    assert (labelme.kind, labelme.class_names, labelme.notes) == ("labelme", voc.class_names, [])
    assert labelme.splits.keys() == voc.splits.keys()
    for part, listing in voc.splits.items():
        by_name = {name.rpartition("/")[2]: i for i, name in enumerate(labelme.splits[part].images)}
        assert len(by_name) == len(listing)
        for i, name in enumerate(listing.images):
            found = labelme.splits[part].boxes[by_name[name.rpartition("/")[2]]]
            assert found.numpy() == pytest.approx(listing.boxes[i].numpy(), abs=1e-3)


@pytest.mark.parametrize("json_folder", ["", "json", "labels", "Annotations"])
def test_shapes_become_their_bounding_boxes(tmp_path, json_folder):
    write(
        tmp_path,
        ("dog", [[10, 8], [4, 2]], "rectangle"),
        ("cat", [[5, 1], [9, 3], [6, 9]], None),
        ("cat", [[20, 10], [23, 14]], "circle"),
        ("cat", [[1, 1], [2, 2]], "line"),
        ("__ignore__", [[1, 1], [2, 2]], "rectangle"),
        {"label": "dog", "points": [[30, 2], [32, 4]], "shape_type": "rectangle", "group_id": 1},
        {"label": "dog", "points": [[34, 6], [36, 8]], "shape_type": "rectangle", "group_id": 1},
        json_folder=json_folder,
    )
    layout = recognise(tmp_path)
    assert layout.class_names == ("cat", "dog")
    assert layout.splits["train"].boxes[0].tolist() == [
        [4, 2, 10, 8, 1],
        [5, 1, 9, 9, 0],
        [15, 5, 25, 15, 0],
        [30, 2, 36, 8, 1],
    ]
    assert layout.notes == [
        f"1 shapes left out: 'line' has no area (first: {json_folder}{'/' * bool(json_folder)}a.json)"
    ]


def test_images_that_nobody_labelled_are_left_out_and_those_without_shapes_show_nothing(tmp_path):
    write(write(tmp_path, DOG), name="empty")
    Image.new("L", (40, 20)).save(tmp_path / "new.png")
    layout = recognise(tmp_path)
    assert list(layout.splits["train"].images) == ["a.png", "empty.png"] and len(layout.splits["train"].boxes[1]) == 0
    assert layout.notes == [
        "1 images left out: they have no JSON file of their name, so they are unlabelled (first: new.png)"
    ]
    (tmp_path / "a.png").unlink()
    with pytest.raises(ValueError, match=r"a.json has no image: expected a\.\*; add it, or take the annotation out"):
        recognise(tmp_path)


@pytest.mark.parametrize(
    ("shapes", "changes", "message"),
    [
        ([{"label": "", "points": []}], {}, "shape 2 has no label"),
        ([{"points": []}], {}, "shape 2 has no label"),
        ([3], {}, "shape 2 has no label: 3"),
        ([("dog", [[1, 1]], "rectangle")], {}, r"shape 2, 'dog', has the points \[\[1, 1\]\]: expected \[\[x, y\]"),
        ([("dog", [[1, 1], [2, "3"]], "polygon")], {}, "shape 2, 'dog', has the points"),
        ([("dog", [[1, 1], [2, 10**400]], "polygon")], {}, "a.json cannot be read as labelme's JSON"),
        ([], {"shapes": {}}, "it has no list of shapes"),
        ([], {"imageHeight": "20"}, "imageHeight is '20', not a whole number of pixels"),
        ([], {"imageHeight": 10**9}, "40 x 1000000000 pixels"),
    ],
)
def test_what_is_wrong_is_named_with_its_file_and_the_rest_is_looked_through(tmp_path, shapes, changes, message):
    write(write(tmp_path, DOG, name="b"), DOG, *shapes, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        recognise(tmp_path)
    assert "\n" not in str(caught.value)
    if "imageHeight" not in changes or isinstance(changes["imageHeight"], str):
        errors = check_folder(tmp_path).layout.findings.of("error")
        assert [finding.count for finding in errors] == [1]


def test_files_that_are_damaged_or_nested_without_end_are_refused_in_a_line(tmp_path):
    write(tmp_path, DOG, name="b")
    for text in ('{"version": "5", "shapes": [', '{"version": "5", "shapes": ' + "[" * 100_000):
        Image.new("L", (40, 20)).save(tmp_path / "a.png")
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ValueError, match=r"a.json cannot be read as labelme's JSON \(") as caught:
            recognise(tmp_path)
        assert "\n" not in str(caught.value)
        assert [finding.count for finding in check_folder(tmp_path).layout.findings.of("error")] == [1]


def test_numbers_that_are_none_are_left_out(tmp_path):
    write(
        tmp_path,
        DOG,
        ("dog", [[1, float("nan")], [2, 3]], "rectangle"),
        ("dog", [[1, 1], [float("inf"), 3]], "polygon"),
    )
    assert len(rows(tmp_path)) == 1
    assert "2 boxes left out" in recognise(tmp_path).notes[0]
