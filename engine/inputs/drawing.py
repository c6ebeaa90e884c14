"""Drawing answers on images: captions, boxes, masks.

Unless a docstring says otherwise, images are uint8 (3, H, W).
"""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import draw_segmentation_masks

from engine.contract.registry import printable

MIN_SHOWN = 192  # pixels: smaller images are enlarged by the largest whole factor that stays within
WIDEST = 1700  # pixels of a contact sheet, unless two images are wider
GAP, LABEL = 4, 80  # pixels between its images, and for the titles of its rows
TEXT = 16  # height of its texts in pixels
MAX_COVERED = 0.15  # share of an image that the captions of its boxes may cover
BAND = 2**20  # pixels of a large image that masks are drawn on at a time, as that takes 50 bytes each
Place = tuple[int, int, int, int]  # xyxy in pixels
MAX_LINES = 3  # of a caption
# Colours that remain distinct with most kinds of colour blindness. Source: Okabe and Ito 2008, jfly.uni-koeln.de/color.
COLOURS = [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)]
# More, each as far in CIELAB from all before it as a colour visible on dark and on light can be.
COLOURS += [(0, 0, 255), (0, 255, 0), (255, 0, 221), (85, 68, 17), (85, 34, 153), (255, 0, 102), (238, 204, 153)]
COLOURS += [(153, 255, 136), (102, 136, 0), (119, 17, 34), (0, 255, 255), (204, 136, 255), (170, 68, 255)]
COLOURS += [(85, 51, 102), (255, 0, 34), (0, 119, 255), (187, 17, 136)]


def class_colour(number: int) -> tuple[int, int, int]:
    """Return the colour of a class; after the last one colours repeat, darker."""
    shade = 0.7 ** (number // len(COLOURS))
    red, green, blue = (round(value * shade) for value in COLOURS[number % len(COLOURS)])
    return red, green, blue


def to_image(pixels: Tensor) -> Image.Image:
    """Return uint8 pixels (3, H, W) or (1, H, W) as a Pillow image, colour or grey."""
    values = pixels.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values)


def in_colour(images: Tensor) -> Tensor:
    """Turn images (N, C, H, W) in 0..1 into uint8 (N, 3, H, W); unless C is 3, channels are averaged to grey."""
    images = images.float() if images.shape[1] == 3 else images.float().mean(dim=1, keepdim=True)
    return (255 * images.clamp(0, 1)).round().to(torch.uint8).expand(-1, 3, -1, -1)


def as_shown(images: Tensor) -> Tensor:
    """Enlarge small images (N, 3, H, W) for display, by a whole factor, without smoothing."""
    factor = max(1, MIN_SHOWN // max(images.shape[-2:]))
    return images.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)


def captioned(images: Tensor, texts: Sequence[str]) -> Tensor:
    """Return uint8 images (N, 3, H, W), `as_shown`, each with a text of up to MAX_LINES lines below."""
    shown = as_shown(images)
    lines = [_wrapped(printable(text), shown.shape[3] - 4) for text in texts]
    high = max(map(len, lines)) * (TEXT + 4) + 4
    return torch.stack([_captioned(image, own, high) for image, own in zip(shown, lines, strict=True)])


def _captioned(image: Tensor, lines: Sequence[str], high: int) -> Tensor:
    ground = Image.new("RGB", (image.shape[2], high), "white")
    pen, font = ImageDraw.Draw(ground), ImageFont.load_default(TEXT)
    for i, line in enumerate(lines):
        pen.text((2, 2 + i * (TEXT + 4)), line, fill="black", font=font)
    return torch.cat([image, _to_tensor(ground)], dim=1)


def _wrapped(text: str, width: int) -> list[str]:
    """Wrap a text to lines of at most `width` pixels, between words or, if a word is too long, within it."""
    font = ImageFont.load_default(TEXT)
    lines: list[str] = []
    while text and len(lines) < MAX_LINES:
        fits = next((i for i in range(len(text), 1, -1) if font.getlength(text[:i]) <= width), 1)
        if fits < len(text) and len(lines) == MAX_LINES - 1:
            return [*lines, f"{text[: fits - 1]}…"]
        space = text.rfind(" ", 1, fits + 1) if fits < len(text) else -1
        cut = space if space > 0 else fits
        lines.append(text[:cut])
        text = text[cut:].lstrip(" ")
    return lines or [""]


def joined(first: Tensor, second: Tensor) -> Tensor:
    """Concatenate images (N, 3, H, W) and (M, 3, h, W), padding the lower ones with white below."""
    high = max(first.shape[2], second.shape[2])
    return torch.cat([F.pad(images, (0, 0, 0, high - images.shape[2]), value=255) for images in (first, second)])


def contact_sheet(
    rows: Mapping[str, Tensor], legend: Mapping[str, tuple[int, int, int]] | None = None, columns: int | None = None
) -> Tensor:
    """Return a picture (3, h, w) of uint8 with a row per title and a column per sample.

    Small images are enlarged as by `as_shown`; large ones are left out as needed to keep the width.

    Args:
        rows: by title, uint8 (N, 3, H, W), all of the same size.
        legend: names of colours, written below.
        columns: wrap a single row into lines of so many images, without its title.
    """
    rows = {title: as_shown(images) for title, images in rows.items()}
    if columns is not None:
        (images,) = rows.values()
        lines = [_line("", part, 0) for part in images.split(columns)]
    else:
        fitting = max(2, (WIDEST - LABEL) // next(iter(rows.values())).shape[-1])
        lines = [_line(title, images[:fitting], LABEL) for title, images in rows.items()]
    width = max(line.shape[2] for line in lines)
    lines = [F.pad(line, (0, width - line.shape[2]), value=255) for line in lines]
    if legend:
        lines.append(_legend(legend, width))
    return torch.cat(lines, dim=1)


def _line(title: str, images: Tensor, label: int) -> Tensor:
    line = torch.cat(list(F.pad(images, (0, GAP, 0, GAP), value=255)), dim=2)
    if not label:
        return line
    ground = Image.new("RGB", (label, line.shape[1]), "white")
    words = printable(title).split(" ")
    font = ImageFont.load_default(TEXT)
    ImageDraw.Draw(ground).multiline_text((4, 4), "\n".join(words), fill="black", font=font)
    return torch.cat([_to_tensor(ground), line], dim=2)


def _legend(legend: Mapping[str, tuple[int, int, int]], width: int) -> Tensor:
    """Return a strip (3, h, width) with a patch of each colour beside its name, in as many lines as needed."""
    font = ImageFont.load_default(TEXT)
    places, left, top = [], 4, 6
    for name, colour in ((printable(name), colour) for name, colour in legend.items()):
        wide = TEXT + 6 + round(font.getlength(name)) + 16
        if left > 4 and left + wide > width:
            left, top = 4, top + TEXT + 8
        places.append((left, top, name, colour))
        left += wide
    strip = Image.new("RGB", (width, top + TEXT + 8), "white")
    pen = ImageDraw.Draw(strip)
    for left, top, name, colour in places:
        pen.rectangle((left, top, left + TEXT, top + TEXT), fill=colour, outline="black")
        pen.text((left + TEXT + 6, top - 2), name, fill="black", font=font)
    return _to_tensor(strip)


def draw_boxes(image: Tensor, boxes: Tensor, labels: Sequence[int], texts: Sequence[str]) -> Tensor:
    """Draw boxes (M, 4) xyxy in pixels, in the colour of their class, with a text at each; the last is on top.

    Texts are placed from the last box to the first: one that would overlap another is left out, and all further ones
    once they cover MAX_COVERED of the image.
    """
    height, width = image.shape[-2:]
    picture = _to_picture(image)
    pen = ImageDraw.Draw(picture)
    # Pillow needs corners within the image, also for boxes that touch the border or have no area.
    limit = torch.tensor([width - 1, height - 1, width - 1, height - 1])
    places = boxes.round().clamp(min=torch.zeros(4), max=limit).int().tolist()
    line = max(1, min(2, max(height, width) // 80), round(max(height, width) / 300))
    for place, label in zip(places, labels, strict=True):
        pen.rectangle(place, outline=class_colour(label), width=line)
    taken: list[Place] = []
    for place, label, text in zip(places[::-1], labels[::-1], map(printable, texts[::-1]), strict=True):
        caption = _caption_place(pen, text, (place[0], place[1]), place[3], (height, width))
        if not any(_meet(caption, other) for other in taken):
            taken.append(caption)
            _write(pen, text, caption, (height, width), class_colour(label))
        if sum(map(_pixels, taken)) > MAX_COVERED * height * width:
            break
    return _to_tensor(picture)


def draw_masks(
    image: Tensor, mask: Tensor, colours: Mapping[int, tuple[int, int, int]], opacity: float = 0.6
) -> Tensor:
    """Overlay the classes of a mask (H, W) that have a colour; other pixels are unchanged."""
    rows = max(1, BAND // mask.shape[1])
    bands = zip(image.split(rows, dim=1), mask.split(rows), strict=True)
    return torch.cat([_draw_masks(*band, colours, opacity) for band in bands], dim=1)


def _draw_masks(image: Tensor, mask: Tensor, colours: Mapping[int, tuple[int, int, int]], opacity: float) -> Tensor:
    numbers = [number for number in mask.unique().tolist() if number in colours]
    if not numbers:
        return image.clone()
    layers = torch.stack([mask == number for number in numbers])
    return draw_segmentation_masks(image, layers, opacity, [colours[number] for number in numbers])


def draw_caption(
    image: Tensor,
    text: str,
    corner: tuple[int, int] = (0, 0),
    below: int = 0,
    colour: tuple[int, int, int] = (255, 255, 255),
) -> Tensor:
    """Write a text on a black ground with its lower left at `corner` = (x, y); without room above, at y = `below`.

    A text that would cross the border is moved inside, if it fits.
    """
    text = printable(text)
    size = (image.shape[-2], image.shape[-1])
    picture = _to_picture(image)
    pen = ImageDraw.Draw(picture)
    _write(pen, text, _caption_place(pen, text, corner, below, size), size, colour)
    return _to_tensor(picture)


def _caption_place(
    pen: ImageDraw.ImageDraw, text: str, corner: tuple[int, int], below: int, size: tuple[int, int]
) -> Place:
    height, width = size
    _, _, wide, high = (int(side) for side in pen.textbbox((0, 0), text, font=_caption_font(size)))
    left, top = corner[0], corner[1] - high - 2
    if top < 0:
        top = below
    left, top = max(0, min(left, width - wide - 2)), max(0, min(top, height - high - 2))
    return left, top, left + wide + 2, top + high + 2


def _write(
    pen: ImageDraw.ImageDraw, text: str, place: Place, size: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    pen.rectangle(place, fill=(0, 0, 0))
    pen.text((place[0] + 1, place[1]), text, fill=colour, font=_caption_font(size))


@functools.cache
def _caption_font(size: tuple[int, int]) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(9, min(12, max(size) // 16), round(max(size) / 40)))


def _meet(one: Place, other: Place) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _pixels(place: Place) -> int:
    return (place[2] - place[0]) * (place[3] - place[1])


def _to_picture(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def _to_tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
