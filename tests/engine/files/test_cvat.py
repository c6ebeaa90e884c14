import numpy as np
import pytest
from PIL import Image

from engine.files.checks import check_folder
from engine.files.layouts import recognise
from tests.own_data import write_cvat, write_voc

BOX = '<box label="dog" xtl="4" ytl="2" xbr="10.5" ybr="8"><attribute name="x">1</attribute></box>'


def write(folder, shapes=BOX, head='<?xml version="1.0"?>', size='width="40" height="20"', place="images"):
    """Write an image of 40 x 20 pixels and an annotations.xml that lists it with these shapes."""
    (folder / place).mkdir(parents=True, exist_ok=True)
    Image.new("L", (40, 20)).save(folder / place / "a.png")
    text = f'{head}<annotations><image id="0" name="a.png" {size}>{shapes}</image></annotations>'
    (folder / "annotations.xml").write_text(text)
    return folder


def test_the_boxes_are_those_of_another_layout(tmp_path):
    for split in (False, True):
        cvat, voc = (
            recognise(write(tmp_path / f"{write.__name__} {split}", split=split)) for write in (write_cvat, write_voc)
        )
        assert (cvat.kind, cvat.class_names, cvat.notes) == ("CVAT", voc.class_names, [])
        assert cvat.splits.keys() == voc.splits.keys()
        for part, listing in voc.splits.items():
            by_name = {name.rpartition("/")[2]: i for i, name in enumerate(cvat.splits[part].images)}
            assert len(by_name) == len(listing)
            for i, name in enumerate(listing.images):
                found = cvat.splits[part].boxes[by_name[name.rpartition("/")[2]]]
                assert found.tolist() == listing.boxes[i].tolist()


@pytest.mark.parametrize("place", ["images", "", "elsewhere/deep"])
def test_shapes_become_their_bounding_boxes(tmp_path, place):
    shapes = (
        BOX
        + '<polygon label="cat" points="5.00,1.00;9.00,3.00;6.00,9.00"/>'
        + '<ellipse label="cat" cx="20" cy="10" rx="4" ry="2" rotation="90.0"/>'
        + '<box label="cat" xtl="26" ytl="8" xbr="34" ybr="12" rotation="90.0"/>'
        + '<mask label="cat" rle="1, 2" left="3" top="4" width="5" height="6"/>'
        + '<polyline label="cat" points="1,1;2,2"/><skeleton label="cat"><points label="l" points="1,1"/></skeleton>'
    )
    layout = recognise(write(tmp_path, shapes, place=place))
    assert layout.class_names == ("cat", "dog")
    expected = [
        [4, 2, 10.5, 8, 1],
        [5, 1, 9, 9, 0],
        [18, 6, 22, 14, 0],
        [28, 6, 32, 14, 0],
        [3, 4, 8, 10, 0],
    ]
    assert layout.splits["train"].boxes[0].numpy() == pytest.approx(np.array(expected), abs=1e-5)
    assert [note for note in layout.notes if "shapes" in note] == [
        "1 shapes left out: a 'polyline' is not read as a box (first: a.png)",
        "1 shapes left out: a 'skeleton' is not read as a box (first: a.png)",
    ]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ('<box xtl="4"/>', "annotations.xml, image 'a.png': box at place 2 has no label"),
        ('<box label="dog" xtl="4"/>', "image 'a.png': box at place 2, 'dog', has no ytl"),
        ('<polygon label="dog"/>', "polygon at place 2, 'dog', has no points"),
        ('<polygon label="dog" points="1,2;3"/>', "has the points '1,2;3': expected X,Y;X,Y;..."),
        ('<box label="dog" xtl="x" ytl="2" xbr="10" ybr="8"/>', "xtl of box at place 2, 'dog', is 'x', not a number"),
    ],
)
def test_what_is_wrong_with_a_shape_is_named_and_the_rest_is_looked_through(tmp_path, shapes, message):
    write(tmp_path, BOX + shapes)
    Image.new("L", (40, 20)).save(tmp_path / "images/b.png")
    text = (tmp_path / "annotations.xml").read_text()
    (tmp_path / "annotations.xml").write_text(
        text.replace("</annotations>", f'<image name="b.png">{BOX}</image></annotations>')
    )
    with pytest.raises(ValueError, match=message):
        recognise(tmp_path)
    checked = check_folder(tmp_path)
    assert [finding.count for finding in checked.layout.findings.of("error")] == [1]
    assert list(checked.layout.splits["train"].images) == ["images/b.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"head": '<!DOCTYPE annotations [<!ENTITY a "b">]>'},
            r"cannot be read as CVAT's XML \(it defines a document ty",
        ),
        ({"shapes": "<box"}, r"annotations.xml cannot be read as CVAT's XML \("),
        ({"shapes": '</image><track id="0"/><image name="b.png">'}, "it holds tracks of a video: export 'CVAT for"),
        ({"size": 'width="wide" height="20"'}, "image 'a.png': width is 'wide', not a number"),
        ({"size": 'width="1e999" height="20"'}, "width is '1e999', which no image has"),
        ({"size": 'width="99999999999" height="20"'}, "99999999999 x 20 pixels"),
        ({"shapes": "<skeleton/>" * 2}, "no annotation in .* has an object: there is nothing to learn"),
    ],
)
def test_files_that_are_none_or_hostile_are_refused_in_a_line(tmp_path, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        recognise(write(tmp_path, **options))
    assert "\n" not in str(caught.value)


def test_an_image_that_is_not_there_is_named_and_deep_nesting_is_harmless(tmp_path):
    folder = write(tmp_path, BOX + "<box>" * 100_000 + "</box>" * 100_000)
    with pytest.raises(ValueError, match="box at place 2 has no label"):
        recognise(folder)
    write(tmp_path)
    (tmp_path / "images/a.png").unlink()
    with pytest.raises(ValueError, match="image a.png does not exist: looked in ./, images/"):
        recognise(tmp_path)
