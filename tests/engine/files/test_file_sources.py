import numpy as np
import pytest
import torch
from PIL import Image

from engine.files.box_files import turn_boxes
from engine.files.layouts import recognise
from tests.own_data import CATEGORY_IDS, COLOURS, voc_xml, write_class_folders, write_coco, write_masks, write_pairs

pytestmark = pytest.mark.task("segment", "detect")  # their layouts are read together

ORIENTATION = 0x0112


def source_of(folder, channels=3, **options):
    layout = recognise(folder, **options)
    return layout.source(layout.splits["train"], channels)


def sample(source, index=0, size=(48, 40)):
    return source.sample(index, source.read(index, size), size)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.array(pixels, np.uint8))
    image.save(path, **options)


def save_turned(path, upright, orientation):
    """Save an image such that EXIF's number says how it is to be turned to be upright."""
    back = {5: "TRANSPOSE", 6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    save(path, Image.fromarray(upright).transpose(Image.Transpose[back]), exif=exif)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("write", [write_class_folders, write_masks, write_coco, write_pairs])
def test_what_is_read_has_the_shapes_and_types_that_were_announced(tmp_path, write, channels):
    source = source_of(write(tmp_path, num=3), channels)
    assert len(source) == 3
    planes = source.read(2, (30, 20))
    assert [(tuple(plane.shape), plane.dtype) for plane in planes] == source.specs((30, 20))
    assert all(torch.equal(a, b) for a, b in zip(planes, source.read(2, (30, 20)), strict=True))


# Classes


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK", "LA", "1", "I;16"])
def test_images_of_every_mode_have_their_class(tmp_path, mode):
    name = "my é.tif" if mode in ("CMYK", "I;16") else "my é.png"
    for kind in ("a", "b"):
        image = Image.new("L", (8, 6), 255)
        save(tmp_path / kind / name, Image.new(mode, (8, 6), 65535) if mode == "I;16" else image.convert(mode))
    image, label = sample(source_of(tmp_path), 1, (6, 8))
    assert label == 1 and image.shape == (3, 6, 8) and (image == 255).all()


def test_a_file_that_is_no_image_is_named_when_it_is_read(tmp_path):
    for kind in ("a", "b"):
        save(tmp_path / kind / "1.jpg", np.random.default_rng(0).integers(0, 255, (64, 64)))
    (tmp_path / "a" / "1.jpg").write_bytes((tmp_path / "a" / "1.jpg").read_bytes()[:-900])
    (tmp_path / "b" / "1.jpg").write_text("text")
    source = source_of(tmp_path)
    for index, kind in enumerate("ab"):
        with pytest.raises(ValueError, match=rf"{kind}/1.jpg cannot be read as an image"):
            source.read(index, (8, 8))


# Masks


def masked(folder, mask, image=None, classes="sky\nsea\nland", **options):
    """Write one image with its mask."""
    save(folder / "images" / "1.png", np.zeros((*np.array(mask).shape[:2], 3)) if image is None else image)
    mask = mask if isinstance(mask, Image.Image) else Image.fromarray(np.array(mask))
    save(folder / "masks" / "1.png", mask, **options)
    if classes is not None:
        (folder / "classes.txt").write_text(classes)
    return source_of(folder)


VALUES = np.array([[0, 1], [2, 255]], np.uint8)


@pytest.mark.parametrize("kind", ["grey", "palette", "16 bits", "colours", "colours with an alpha channel"])
def test_masks_of_each_kind_say_the_same(tmp_path, kind):
    colours = np.array([[9, 200, 31], [9, 200, 30], [0, 0, 0]], np.uint8)
    mask, expected, classes = VALUES, VALUES.tolist(), "sky\nsea\nland"
    if kind == "palette":
        mask = Image.fromarray(VALUES)
        mask.putpalette([7, 7, 7] * 256)  # the same colour for all: it is the number that counts
    elif kind == "16 bits":
        mask = VALUES.astype(np.uint16)
    elif kind.startswith("colours"):
        classes = "sky 9 200 31\nblue sea 9 200 30\nland 0 0 0"
        mask = colours[[[0, 1], [2, 2]]]
        expected = [[0, 1], [2, 2]]
        if "alpha" in kind:
            mask = np.concatenate([mask, np.full((2, 2, 1), 128, np.uint8)], axis=2)
    source = masked(tmp_path, mask, classes=classes)
    _, target = sample(source, size=(2, 2))
    assert target.dtype == torch.uint8 and target.tolist() == expected


@pytest.mark.parametrize(
    ("mask", "classes", "message"),
    [
        ([[0, 3]], "a\nb\nc", "masks/1.png holds the class 3, but there are 3, from 0 to 2"),
        (np.uint16([[0, 300]]), "a\nb", "masks/1.png holds the value 300: a mask's values are from 0 to 255"),
        ([[[9, 0, 0], [0, 0, 9]]], "a\nb", r"masks/1.png is a mask of colours \(0 0 9, 9 0 0\) of unknown meaning"),
        (np.full((1, 2, 3), 9), "a 0 0 0\nb 9 9 8", "masks/1.png has the colour 9 9 9, which is not in classes.txt"),
        (np.uint8([[[0, 0], [0, 9]]]), "a\nb", "masks/1.png is transparent in parts"),
        (
            np.uint8([[[0, 0, 0], [0, 0, 0]]]),
            "a 9 0 0\nb 9 9 8",
            "has the colour 0 0 0, which is not in classes.txt: correct",
        ),
        (np.uint8([[[1, 0, 0], [2, 0, 0]]]), "a 9 0 0\nb 9 9 8", r"and 1 more: were its edges softened\?"),
        ([[0, 9]], "a 9 9 9\nb 0 0 9", "masks/1.png holds the class 9, but there are 2"),
        ([[0, 1]], "a 1 1 1\nb 0 0 9", "is grey, and 1 may be the number of one class or the colour of another"),
    ],
)
def test_a_mask_that_means_nothing_is_named(tmp_path, mask, classes, message):
    if not isinstance(mask, Image.Image) and np.array(mask).dtype != np.uint16:
        mask = np.array(mask, np.uint8)
    image = np.zeros((1, 2, 3))
    with pytest.raises(ValueError, match=message):
        masked(tmp_path, mask, image, classes).read(0, (1, 2))


def test_a_mask_of_another_size_than_its_image_is_named_with_both(tmp_path):
    source = masked(tmp_path, np.zeros((4, 6), np.uint8), image=np.zeros((6, 6, 3)))
    with pytest.raises(ValueError, match=r"masks/1.png is 6 x 4 pixels and its image .*images/1.png is 6 x 6"):
        source.read(0, (4, 6))


def test_black_and_white_masks_are_read_as_two_classes_and_what_is_laid_around_them_as_none(tmp_path):
    source = masked(tmp_path, np.uint8([[0, 255]]), classes=None)
    assert sample(source, size=(2, 2))[1].tolist() == [[0, 1], [255, 255]]


def test_masks_follow_an_order_of_classes_that_was_given(tmp_path):
    masked(tmp_path, VALUES)
    source = source_of(tmp_path, classes=["land", "x", "sky", "sea"])
    assert sample(source, size=(2, 2))[1].tolist() == [[2, 3], [0, 255]]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("drawn_on_upright", [True, False])
def test_masks_are_turned_with_images_that_a_camera_turned(tmp_path, orientation, drawn_on_upright):
    upright = np.zeros((20, 30), np.uint8)
    upright[2:8, 4:20] = 2
    image = np.repeat(100 * upright[..., None], 3, axis=2)
    save_turned(tmp_path / "images" / "1.png", image, orientation)
    if drawn_on_upright:
        save(tmp_path / "masks" / "1.png", upright)
    else:
        save_turned(tmp_path / "masks" / "1.png", upright, orientation)
        with Image.open(tmp_path / "masks" / "1.png") as file:  # without the camera's note
            save(tmp_path / "masks" / "1.png", np.asarray(file))
    (tmp_path / "classes.txt").write_text("a\nb\nc")
    seen, mask = sample(source_of(tmp_path), size=(20, 30))
    assert np.array_equal(mask, upright) and np.array_equal(seen[0] // 100, upright)


# Boxes


def boxed(folder, boxes, size, image):
    save(folder / "images" / "1.png", image)
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations" / "1.xml").write_text(voc_xml([("a", box) for box in boxes], size))
    return source_of(folder)


def test_boxes_are_fitted_with_their_image(tmp_path):
    """100 x 50 into 60 x 40: half size wide, 0.6 high, so scaled by 0.6 to 60 x 30, with 5 rows above."""
    source = boxed(tmp_path, [(10, 20, 40, 50)], (50, 100), np.zeros((50, 100, 3)))
    _, target = sample(source, size=(40, 60))
    assert target["boxes"].tolist() == [[6, 17, 24, 35]] and target["labels"].tolist() == [0]
    assert target["boxes"].canvas_size == (40, 60) and target["labels"].dtype == torch.int64


def test_an_image_without_objects_has_no_boxes(tmp_path):
    source = source_of(write_coco(tmp_path, num=8))
    _, target = sample(source, 7)
    assert target["boxes"].shape == (0, 4) and target["labels"].shape == (0,)


@pytest.mark.parametrize("index", range(6))
def test_boxes_bound_what_is_painted_and_name_its_colour(tmp_path, index):
    image, target = sample(source_of(write_coco(tmp_path, num=6)), index)
    for box, label in zip(target["boxes"].int().tolist(), target["labels"].tolist(), strict=True):
        colour = torch.tensor(COLOURS[list(CATEGORY_IDS)[label]])
        near = (image.int() - colour[:, None, None]).abs().amax(dim=0) <= 20
        x0, y0, x1, y1 = box
        assert near[y0:y1, x0:x1].all() and not near[y0 - 1, x0:x1].any() and not near[y0:y1, x1].any()


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [(5, [2, 1, 4, 9]), (6, [16, 1, 18, 9]), (7, [16, 21, 18, 29]), (8, [2, 21, 4, 29])],
)
def test_boxes_on_the_pixels_of_a_file_are_turned_upright(orientation, expected):
    """A file of 30 x 20 with a box from (1, 2) to (9, 4); upright it is 20 x 30."""
    assert turn_boxes(torch.tensor([[1.0, 2, 9, 4]]), orientation, (30, 20)).tolist() == [expected]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("drawn_on_upright", [True, False])
def test_boxes_bound_the_same_thing_however_a_camera_turned_the_image(tmp_path, orientation, drawn_on_upright):
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[2:8, 4:20] = 255
    save_turned(tmp_path / "1.png", upright, orientation)
    with Image.open(tmp_path / "1.png") as file:
        raw = np.asarray(file)
    seen = upright if drawn_on_upright else raw
    rows, columns = np.flatnonzero(seen.max(axis=(1, 2))), np.flatnonzero(seen.max(axis=(0, 2)))
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    (tmp_path / "1.xml").write_text(voc_xml([("a", box)], seen.shape))
    image, target = sample(source_of(tmp_path), size=(20, 30))
    assert np.array_equal(image, upright.transpose(2, 0, 1)) and target["boxes"].tolist() == [[4, 2, 20, 8]]


def test_an_image_of_another_size_than_its_annotation_says_is_named_with_both(tmp_path):
    source = boxed(tmp_path, [(1, 1, 9, 9)], (50, 100), np.zeros((100, 50, 3)))
    with pytest.raises(ValueError, match=r"images/1.png is 50 x 100 pixels, but its annotation is for 100 x 50"):
        source.read(0, (8, 8))


def test_without_a_size_in_the_annotation_boxes_are_cut_off_at_the_image(tmp_path):
    source = boxed(tmp_path, [(5, 5, 90, 90), (30, 1, 40, 9)], (0, 0), np.zeros((20, 20, 3)))
    assert sample(source, size=(20, 20))[1]["boxes"].tolist() == [[5, 5, 20, 20]]


# Pairs


@pytest.mark.parametrize("joined", [False, True])
def test_pairs_are_source_and_target_from_two_files_or_the_halves_of_one(tmp_path, joined):
    if joined:
        for i in range(2):
            save(tmp_path / f"{i}.png", np.repeat(np.uint8([[[10] * 3] * 8 + [[200] * 3] * 8]), 8, axis=0))
    else:
        save(tmp_path / "A" / "1.png", np.full((8, 8, 3), 10))
        save(tmp_path / "B" / "1.png", np.full((16, 16, 3), 200))  # twice as large, as it would be for finer images
    source, target = sample(source_of(tmp_path), size=(8, 8))
    assert source.shape == target.shape == (3, 8, 8) and (source == 10).all() and (target == 200).all()


def test_pairs_of_other_proportions_or_of_an_odd_width_are_named(tmp_path):
    save(tmp_path / "a" / "A" / "1.png", np.zeros((8, 8, 3)))
    save(tmp_path / "a" / "B" / "1.png", np.zeros((8, 9, 3)))
    with pytest.raises(ValueError, match="B/1.png is 9 x 8 pixels and .*A/1.png is 8 x 8: a pair has the same prop"):
        source_of(tmp_path / "a").read(0, (8, 8))
    save(tmp_path / "b" / "1.png", np.zeros((8, 17, 3)))
    with pytest.raises(ValueError, match="1.png is 17 pixels wide: two images side by side need an even width"):
        source_of(tmp_path / "b").read(0, (8, 8))
