import pytest
from PIL import Image

from engine.files.box_lists import UNTOLD
from engine.files.checks import check_folder
from engine.files.layouts import recognise
from engine.inputs.folder import Findings
from tests.own_data import write_voc, write_yolo


def write(folder, labels="0 0.5 0.5 0.2 0.5\n", names="names: [dog, cat]\n", image="images/a.jpg", size=(40, 20)):
    """Write an image of 40 x 20 pixels, its label file where such a layout has it, and data.yaml."""
    path, label = folder / image, (folder / image.replace("images", "labels")).with_suffix(".txt")
    for parent in (path.parent, label.parent):
        parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(path)
    label.write_bytes(labels if isinstance(labels, bytes) else labels.encode())
    if names is not None:
        (folder / "data.yaml").write_text(names)
    return folder


def rows(folder, split="train"):
    return recognise(folder).splits[split].boxes[0].tolist()


def sizes(layout):
    return {split: len(listing) for split, listing in layout.splits.items()}


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("split", [False, True])
def test_the_boxes_are_those_of_another_layout(tmp_path, split, within):
    yolo = recognise(write_yolo(tmp_path / "yolo", split=split, within=within))
    voc = recognise(write_voc(tmp_path / "voc", split=split))
    assert (yolo.kind, yolo.task, yolo.class_names) == ("YOLO", "detect", voc.class_names)
    assert sizes(yolo) == sizes(voc)
    for part, listing in voc.splits.items():
        by_name = {name.rpartition("/")[2]: i for i, name in enumerate(yolo.splits[part].images)}
        for i, name in enumerate(listing.images):
            found = yolo.splits[part].boxes[by_name[name.rpartition("/")[2]]]
            assert found.numpy() == pytest.approx(listing.boxes[i].numpy(), abs=1e-3)
    if not split:
        assert yolo.notes == ["3 images without objects: there is no label file (first: images/15.png)"]


def test_a_box_is_in_pixels_of_the_upright_image_and_a_polygon_is_its_bounding_box(tmp_path):
    folder = write(tmp_path / "a", "1 0.5 0.5 0.2 0.5\n\n0 .25 .1 .5 .1 .75 .9\n", "names:\n  1: cat\n  0: no\n")
    assert rows(folder) == [[16.0, 5.0, 24.0, 15.0, 1.0], [10.0, 2.0, 30.0, 18.0, 0.0]]
    assert recognise(folder).class_names == ("no", "cat")  # which is false to other readers of YAML
    turned = write(tmp_path / "b")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (40, 20)).save(turned / "images/a.jpg", exif=exif)  # 20 x 40 upright
    assert rows(turned) == [[8.0, 10.0, 12.0, 30.0, 0.0]]
    assert [finding.what for finding in recognise(turned).findings.of("warning")] == [UNTOLD]


def test_key_points_follow_a_box_if_data_yaml_says_so(tmp_path):
    text = "0 0.5 0.5 0.2 0.5 0.1 0.1 2 0.9 0.9 1\n"
    assert rows(write(tmp_path, text, "kpt_shape: [2, 3]\nnames: [dog]\n")) == [[16.0, 5.0, 24.0, 15.0, 0.0]]


def test_images_without_a_label_or_with_an_empty_one_show_no_objects_and_are_counted(tmp_path):
    write(tmp_path)
    for i, text in enumerate(["", " \n\n", None]):
        write(tmp_path, text or "", image=f"images/{i}.jpg")
        if text is None:
            (tmp_path / f"labels/{i}.txt").unlink()
    (tmp_path / "labels/lost.txt").write_text("0 0.5 0.5 0.2 0.5")
    (tmp_path / "labels/classes.txt").write_text("dog\ncat\n")
    layout = recognise(tmp_path)
    assert layout.notes == [
        "1 label files left out: they have no image of their name (first: labels/lost.txt)",
        "2 images without objects: their label file is empty (first: images/0.jpg)",
        "1 images without objects: there is no label file (first: images/2.jpg)",
    ]
    assert [len(layout.splits["train"].boxes[i]) for i in range(4)] == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("name", "text"), [("classes.txt", "dog\ncat\n"), ("labels/classes.txt", "dog\ncat"), ("obj.names", "dog\ncat\n")]
)
def test_classes_are_named_in_any_of_their_files(tmp_path, name, text):
    write(tmp_path, names=None).joinpath(name).write_text(text)
    assert recognise(tmp_path).class_names == ("dog", "cat")


def test_classes_without_names_are_numbers(tmp_path):
    layout = recognise(write(tmp_path, "2 0.5 0.5 0.2 0.5", names=None))
    assert layout.class_names == ("0", "1", "2")
    assert layout.notes == ["classes are numbers: none of data.yaml, classes.txt, obj.names names them"]
    with pytest.raises(ValueError, match="labels/a.txt has the class 99999999999, but no data.yaml has class names"):
        recognise(write(tmp_path, "99999999999 0.5 0.5 0.2 0.5", names=None))


@pytest.mark.parametrize("images", ["images", "", "obj_train_data"])
def test_label_files_may_lie_beside_their_images_and_lists_tell_the_splits(tmp_path, images):
    folder = tmp_path / "x" / images
    for name in ("a", "b", "c"):
        write(folder, image=f"{name}.jpg", names=None)
    (tmp_path / "x/obj.names").write_text("dog\n")
    assert sizes(recognise(tmp_path / "x")) == {"train": 3}
    (tmp_path / "x/train.txt").write_text(f"data/{images}/a.jpg\n")
    (tmp_path / "x/valid.txt").write_text("C:\\my data\\b.jpg\r\n\r\n")
    layout = recognise(tmp_path / "x")
    assert sizes(layout) == {"train": 1, "val": 1}
    assert "1 images left out: they are not listed in train.txt, valid.txt (first: " in layout.notes[-1]
    (tmp_path / "x/valid.txt").write_text("d.jpg")
    with pytest.raises(ValueError, match="valid.txt lists 'd.jpg', which does not exist"):
        recognise(tmp_path / "x")


def test_folders_of_a_year_and_of_darknet_are_splits(tmp_path):
    for part in ("train2017", "val2017"):
        write(tmp_path / "a", image=f"images/{part}/a.jpg")
    assert sizes(recognise(tmp_path / "a")) == {"train": 1, "val": 1}
    for part in ("train", "valid"):
        write(tmp_path / "b", image=f"obj_{part}_data/a.jpg")
    assert sizes(recognise(tmp_path / "b")) == {"train": 1, "val": 1}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("0 0.5 0.5 0.2", "a.txt, line 1 has 4 numbers: expected CLASS CX CY W H, or CLASS and three or more X Y"),
        ("0 0.5 0.5 0.2 0.5\n0 .1 .1 .2 .2 .3", "a.txt, line 2 has 6 numbers: expected CLASS"),
        ("dog 0.5 0.5 0.2 0.5", "a.txt, line 1: 'dog 0.5 0.5 0.2 0.5' is not made of numbers"),
        (
            "0 20 10 8 10",
            "a.txt, line 1: '20' is not relative to the image's sides: .*; divide pixels by width and height",
        ),
        ("0 nan 0.5 0.2 0.5", "'nan' is not relative"),
        ("0 1e999 0.5 0.2 0.5", "'1e999' is not relative"),
        ("0.5 0.5 0.5 0.2 0.5", "class '0.5' is not a whole number"),
        ("-1 0.5 0.5 0.2 0.5", "class '-1' is not a whole number"),
        ("1e999 0.5 0.5 0.2 0.5", "class '1e999' is not a whole number"),
        ("2 0.5 0.5 0.2 0.5", "labels/a.txt has the class 2, but data.yaml names 2, from 0 on"),
        (b"\xff\xfe0\x000\x00", "a.txt cannot be read as text"),
    ],
)
def test_what_is_wrong_with_a_line_is_named_with_it_and_the_rest_is_looked_through(tmp_path, labels, message):
    write(tmp_path, image="images/b.jpg")
    with pytest.raises(ValueError, match=message) as caught:
        recognise(write(tmp_path, labels))
    assert "\n" not in str(caught.value)
    errors = check_folder(tmp_path).layout.findings.of("error")
    assert len(errors) == 1 and errors[0].count == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("names: {0: dog, 2: cat}", "data.yaml: names are the classes' names, a list or a mapping of 0, 1"),
        ("names: [dog, dog]", "data.yaml names the class dog twice"),
        ("names: &a [*a]", "data.yaml cannot be read as YAML"),
        ("names: {}", "data.yaml: names are"),
        ("names: [dog", "data.yaml cannot be read as YAML"),
        ("names: " + "[" * 5000, "data.yaml cannot be read as YAML"),
    ],
)
def test_what_is_wrong_with_the_names_is_said(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        recognise(write(tmp_path, names=names))


def test_boxes_that_reach_out_are_cut_off_and_those_without_area_left_out(tmp_path):
    layout = recognise(write(tmp_path, "0 0 0.5 0.4 0.5\n0 0.5 0.5 0 0.5\n0 0.5 0.5 -0.2 0.5\n0 0.01 0.01 0.01 0.01\n"))
    assert layout.splits["train"].boxes[0][:, :4].tolist() == [
        pytest.approx([0, 5, 8, 15]),
        pytest.approx([0.2, 0.1, 0.6, 0.3]),
    ]
    assert layout.notes == [
        "2 boxes left out: they have no area (first: images/a.jpg)",
        "1 boxes clipped at the border of their image (first: images/a.jpg)",
    ]


def test_labels_of_no_image_and_images_that_cannot_be_read_are_named(tmp_path):
    write(tmp_path / "a")
    (tmp_path / "a/images/a.jpg").rename(tmp_path / "a/images/b.jpg")
    with pytest.raises(ValueError, match=r"no label file in .*labels has the name of an image in .*: expected b.txt"):
        recognise(tmp_path / "a")
    write(tmp_path / "b").joinpath("images/a.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"images/a.jpg cannot be read as an image"):
        recognise(tmp_path / "b")
    findings = Findings(strict=False)
    assert recognise(write(tmp_path / "b", image="images/c.jpg"), findings=findings).counted() == "1 train"
    assert [str(finding)[:54] for finding in findings.of("error")] == [
        "1 images or label files that cannot be read (first: " + str(tmp_path)[:2]
    ]
    with pytest.raises(ValueError, match="no label file in .* has an object: there is nothing to learn"):
        recognise(write(tmp_path / "c", "", names=None))
