"""Drawing answers on images: captions, boxes, masks.

Images are uint8 (3, H, W), and come back as such.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

LEAST_SHOWN = 96  # pixels a side of an image on a contact sheet
WIDEST = 1200  # pixels of a contact sheet, if two images do not take more
GAP, LABEL = 2, 60  # pixels between its images, and for the titles of its rows
# Colours that are told apart in most kinds of colour blindness. Source: Okabe and Ito 2008, jfly.uni-koeln.de/color.
COLOURS = [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)]


def class_colour(number: int) -> tuple[int, int, int]:
    """Return the colour of a class; they repeat after the seventh, darker."""
    shade = 0.7 ** (number // len(COLOURS))
    red, green, blue = (round(value * shade) for value in COLOURS[number % len(COLOURS)])
    return red, green, blue


def to_image(pixels: Tensor) -> Image.Image:
    """Return an image in colour or grey of uint8 (3, H, W) or (1, H, W)."""
    values = pixels.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values)


def contact_sheet(rows: Mapping[str, Tensor]) -> Tensor:
    """Return a picture (3, h, w) of uint8 with a row for each title and a column for each sample.

    Small images are enlarged by whole factors, without smoothing; of large ones, fewer are shown.

    Args:
        rows: by title, uint8 (N, 3, H, W), all of the same size.
    """
    height, width = next(iter(rows.values())).shape[-2:]
    factor = max(1, LEAST_SHOWN // max(height, width))
    most = max(2, WIDEST // (width * factor))
    lines = []
    for title, images in rows.items():
        cells = images[:most].repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
        cells = F.pad(cells, (0, GAP, 0, GAP), value=255)
        line = torch.cat(list(cells), dim=2)
        label = draw_caption(torch.full((3, line.shape[1], LABEL), 255, dtype=torch.uint8), title)
        lines.append(torch.cat([label, line], dim=2))
    return torch.cat(lines, dim=1)


def draw_boxes(image: Tensor, boxes: Tensor, labels: Sequence[int], texts: Sequence[str]) -> Tensor:
    """Draw boxes (M, 4) xyxy in pixels, in the colour of their class, with a text at each."""
    if not len(boxes):
        return image.clone()
    height, width = image.shape[-2:]
    # Drawing wants whole boxes, also of those that end at the border or have no area there.
    limit = torch.tensor([width - 1, height - 1, width - 1, height - 1])
    boxes = boxes.round().clamp(min=torch.zeros(4), max=limit)
    thin = max(1, round(max(height, width) / 300))
    colours = [class_colour(label) for label in labels]
    drawn = draw_bounding_boxes(image, boxes, colors=colours, width=thin)
    for (left, top, _, bottom), text, colour in zip(boxes.int().tolist(), texts, colours, strict=True):
        drawn = draw_caption(drawn, text, (left, top), bottom, colour)
    return drawn


def draw_masks(image: Tensor, mask: Tensor, opacity: float = 0.6) -> Tensor:
    """Lay the class numbers of a mask (H, W) over an image in colours; class 0 and 255 are left as they are."""
    numbers = [number for number in mask.unique().tolist() if number not in (0, 255)]
    if not numbers:
        return image.clone()
    layers = torch.stack([mask == number for number in numbers])
    return draw_segmentation_masks(image, layers, opacity, [class_colour(number - 1) for number in numbers])


def draw_caption(
    image: Tensor,
    text: str,
    corner: tuple[int, int] = (0, 0),
    below: int = 0,
    colour: tuple[int, int, int] = (255, 255, 255),
) -> Tensor:
    """Write a text on a dark ground with its lower left at `corner` = (x, y), or under `below` where there is no room.

    What would reach over the image's border is moved inside, as far as it fits.
    """
    height, width = image.shape[-2:]
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(max(9, round(max(height, width) / 40)))
    _, _, wide, high = (int(side) for side in pen.textbbox((0, 0), text, font=font))
    left, top = corner[0], corner[1] - high - 2
    if top < 0:
        top = below
    left, top = max(0, min(left, width - wide - 2)), max(0, min(top, height - high - 2))
    pen.rectangle((left, top, left + wide + 2, top + high + 2), fill=(0, 0, 0))
    pen.text((left + 1, top), text, fill=colour, font=font)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
