import numpy as np
import pytest
import torch
from PIL import Image

from engine.inputs.image_files import (
    letterbox_image,
    letterbox_mask,
    look_at,
    looks_inverted,
    read_halves,
    read_image,
    read_letterboxed,
)

GREY = (np.arange(64, dtype=np.uint8) * 3).reshape(8, 8)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK", "LA", "I", "F", "1"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_is_read(tmp_path, mode, channels):
    path = tmp_path / ("image.tiff" if mode in ("CMYK", "F", "I") else "image.png")
    Image.fromarray(GREY).convert(mode).save(path)
    image = read_image(path, channels)
    assert image.mode == {1: "L", 3: "RGB"}[channels] and image.size == (8, 8)
    if mode not in ("1", "CMYK", "P"):
        assert np.abs(np.asarray(image.convert("L")).astype(int) - GREY).max() <= 1


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert np.array_equal(np.asarray(read_image(tmp_path / "deep.png", 1)), GREY)


def test_what_is_transparent_becomes_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert np.asarray(read_image(tmp_path / "clear.png", 1)).min() == 255


def test_camera_orientation_is_undone(tmp_path):
    upright = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 4, axis=1).repeat(2, axis=0))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    upright.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(np.asarray(read_image(tmp_path / "turned.png", 1)), np.asarray(upright))


@pytest.mark.parametrize("content", [b"", b"this is text", None])
def test_a_file_that_is_no_whole_image_is_named(tmp_path, content):
    path = tmp_path / "my photo é.jpg"
    if content is None:
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(path)
        content = path.read_bytes()[:-700]
    path.write_bytes(content)
    with pytest.raises(ValueError, match="my photo é.jpg cannot be read as an image"):
        read_image(path, 1)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize("content", [EPS, b"qoif" + bytes(20), b"DDS " + bytes(120)], ids=["eps", "qoi", "dds"])
def test_formats_whose_readers_start_programs_or_fail_anyhow_are_not_opened(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.png cannot be read as an image \(it is none of PNG, JPEG"):
        read_image(tmp_path / "a.png", 3)


def test_whatever_a_decoder_raises_names_the_file(tmp_path, monkeypatch):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "getexif", lambda self: {}[0])
    with pytest.raises(ValueError, match=r"a.png cannot be read as an image"):
        look_at(tmp_path / "a.png")


def test_values_that_are_no_numbers_and_modes_without_a_way_to_grey_are_named(tmp_path):
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "nan.tiff")
    Image.new("LAB", (4, 4)).save(tmp_path / "lab.tiff")
    with pytest.raises(ValueError, match="nan.tiff cannot be read as an image"):
        look_at(tmp_path / "nan.tiff")
    for name in ("nan", "lab"):
        with pytest.raises(ValueError, match=rf"{name}.tiff cannot be read as an image"):
            read_image(tmp_path / f"{name}.tiff", 1)


def test_letterboxing_keeps_bytes_of_the_right_size_and_proportions_of_others():
    assert np.array_equal(letterbox_image(Image.fromarray(GREY), (8, 8)).numpy(), GREY[None])
    tall = Image.new("L", (10, 40), 30)
    tall.paste(200, (4, 10, 6, 30))
    fitted = letterbox_image(tall, (40, 40))
    assert fitted.shape == (1, 40, 40) and fitted.dtype == torch.uint8
    assert (fitted[0, :, :15] == 30).all() and (fitted[0, 10:30, 19:21] == 200).all()
    assert letterbox_image(Image.new("RGB", (50, 20), (9, 8, 7)), (28, 28)).flatten(1).unique(dim=1).tolist() == [
        [9],
        [8],
        [7],
    ]


def test_dark_on_light_is_noticed_for_models_of_light_on_dark_only():
    digit = torch.zeros(1, 28, 28, dtype=torch.uint8)
    digit[:, 8:20, 12:16] = 255
    assert not looks_inverted(digit, [0.1307])
    assert looks_inverted(255 - digit, [0.1307])
    assert not looks_inverted(255 - digit, [0.5])
    assert not looks_inverted((255 - digit).expand(3, -1, -1), [0.4, 0.4, 0.4])


def photograph(path, size=(480, 640), orientation=None):
    """Write a JPEG whose left half is darker, (H, W) as it lies in the file."""
    pixels = np.full((*size, 3), 200, np.uint8)
    pixels[:, : size[1] // 2] = 50
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, quality=95, exif=exif)
    return path


def test_reading_and_letterboxing_at_once_gives_what_the_two_do(tmp_path):
    path = photograph(tmp_path / "a.jpg", (60, 80))
    picture = read_letterboxed(path, 3, (60, 90))
    assert torch.equal(picture.pixels, letterbox_image(read_image(path, 3), (60, 90)))
    assert picture.size == (60, 80) and picture.orientation == 1


def test_a_large_jpeg_is_decoded_small_and_looks_the_same(tmp_path, monkeypatch):
    path = photograph(tmp_path / "a.jpg")
    decoded = []
    load = Image.Image.convert
    monkeypatch.setattr(Image.Image, "convert", lambda self, *rest: decoded.append(self.size) or load(self, *rest))
    picture = read_letterboxed(path, 3, (60, 80))
    assert decoded == [(80, 60)] and picture.size == (480, 640)
    difference = picture.pixels.int() - letterbox_image(read_image(path, 3), (60, 80)).int()
    assert difference.abs().float().mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_upright_and_says_how_it_lay(tmp_path, orientation):
    path = photograph(tmp_path / "a.jpg", orientation=orientation)
    picture = read_letterboxed(path, 1, (64, 64))
    assert picture.size == ((480, 640) if orientation < 5 else (640, 480)) and picture.orientation == orientation
    assert look_at(path)[:3] == (picture.size, "RGB", orientation)
    expected = letterbox_image(read_image(path, 1), (64, 64))
    assert (picture.pixels.int() - expected.int()).abs().float().mean() < 2


def test_a_file_that_is_no_image_is_named_by_each_way_to_read_it(tmp_path):
    (tmp_path / "a.jpg").write_text("text")
    for read in (lambda p: read_letterboxed(p, 3, (8, 8)), look_at, lambda p: read_halves(p, (3, 3))):
        with pytest.raises(ValueError, match=r"a.jpg cannot be read as an image"):
            read(tmp_path / "a.jpg")


def test_masks_are_fitted_like_images_and_keep_their_numbers():
    mask = np.zeros((20, 40), np.uint8)
    mask[5:15, 10:30] = 7
    fitted = letterbox_mask(mask, (30, 20))  # to 10 x 20, with ten rows above and ten below
    assert fitted.dtype == torch.uint8 and (fitted[:10] == 255).all() and (fitted[20:] == 255).all()
    expected = torch.zeros(10, 20, dtype=torch.uint8)
    expected[2:8, 5:15] = 7
    assert (fitted[10:20] == expected).float().mean() > 0.85 and set(fitted.unique().tolist()) == {0, 7, 255}
    assert np.array_equal(letterbox_mask(mask, (20, 40)), mask)


def test_halves_are_left_and_right(tmp_path):
    left, right = read_halves(photograph(tmp_path / "a.jpg", (32, 64)), (3, 3))
    assert left.size == right.size == (32, 32)
    assert np.asarray(left).mean() < 60 and np.asarray(right).mean() > 190
