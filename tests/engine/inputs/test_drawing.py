import itertools

import torch
from PIL import ImageFont

from engine.inputs.drawing import (
    TEXT,
    _wrapped,
    captioned,
    class_colour,
    contact_sheet,
    draw_boxes,
    draw_caption,
    draw_masks,
    in_colour,
    joined,
)

GREY = torch.full((3, 60, 80), 100, dtype=torch.uint8)


def test_a_box_is_drawn_where_it_is_and_in_the_colour_of_its_class():
    drawn = draw_boxes(GREY, torch.tensor([[20.0, 30, 60, 50]]), [1], ["a"])
    assert drawn.shape == GREY.shape and drawn.dtype == torch.uint8
    assert tuple(drawn[:, 50, 40].tolist()) == class_colour(1)
    assert (drawn[:, 35:48, 30:55] == 100).all() and (GREY == 100).all()


def test_boxes_at_the_border_and_no_boxes_can_be_drawn():
    assert torch.equal(draw_boxes(GREY, torch.zeros(0, 4), [], []), GREY)
    edge = torch.tensor([[-5.0, -5, 90, 70], [79.6, 59.6, 80, 60], [10, 10, 10, 10]])
    assert draw_boxes(GREY, edge, [0, 1, 2], ["x", "y", "a very long caption that does not fit"]).shape == GREY.shape


def test_in_a_crowd_every_box_is_drawn_and_texts_leave_most_of_the_picture_free():
    """20,000 boxes side by side; a text at each, copied into the picture one by one, would also take minutes."""
    image = torch.full((3, 400, 400), 100, dtype=torch.uint8)
    left, top = torch.arange(20_000) % 200 * 2, torch.arange(20_000) // 200 * 4
    boxes = torch.stack([left, top, left + 1, top + 3], dim=1).float()
    drawn = draw_boxes(image, boxes, [0] * 20_000, ["red blood cell 99%"] * 20_000)
    is_text = (drawn == 0).all(dim=0)
    assert 0.05 < is_text.float().mean() < 0.2 and is_text[-30:].any()  # the last boxes come first
    assert not (drawn == 100).all(dim=0).any()


def test_a_mask_leaves_the_ground_and_what_is_ignored_as_they_are():
    mask = torch.zeros(60, 80, dtype=torch.uint8)
    mask[:10], mask[50:] = 2, 255
    drawn = draw_masks(GREY, mask, {1: class_colour(0), 2: class_colour(1)})
    assert (drawn[:, 10:] == 100).all()
    expected = 0.4 * 100 + 0.6 * torch.tensor(class_colour(1))
    assert (drawn[:, :10].float() - expected[:, None, None]).abs().max() <= 1
    assert torch.equal(draw_masks(GREY, torch.zeros_like(mask), {1: class_colour(0)}), GREY)


def test_a_caption_stays_within_a_tiny_image():
    assert draw_caption(GREY[:, :8, :8], "seven 99 %").shape == (3, 8, 8)


def test_colours_of_many_classes_differ():
    colours = [class_colour(k) for k in range(24)]
    apart = [max(abs(x - y) for x, y in zip(a, b, strict=True)) for a, b in itertools.combinations(colours, 2)]
    assert min(apart) > 40 and len({class_colour(k) for k in range(120)}) == 120


def test_images_in_colour_are_bytes_and_other_channels_than_three_are_their_mean():
    assert in_colour(torch.tensor([[[[0.5]], [[1.5]], [[-1.0]]]])).flatten().tolist() == [128, 255, 0]
    assert in_colour(torch.tensor([[[[0.2]], [[0.4]]]])).flatten().tolist() == [76, 76, 76]
    assert in_colour(torch.tensor([[[[0.2]]]])).shape == (1, 3, 1, 1)


def test_a_contact_sheet_shows_each_row_enlarged_and_what_colours_mean():
    red, blue = (torch.zeros(2, 3, 20, 30, dtype=torch.uint8) for _ in range(2))
    red[:, 0], blue[:, 2] = 255, 255
    sheet = contact_sheet({"a": red, "b": blue})
    for colour, rows in (((255, 0, 0), slice(0, 120)), ((0, 0, 255), slice(120, None))):
        shown = (sheet[:, rows] == torch.tensor(colour, dtype=torch.uint8)[:, None, None]).all(dim=0)
        assert shown.sum() == 2 * (20 * 6) * (30 * 6)
    with_legend = contact_sheet({"a": red, "b": blue}, {"sky": (1, 2, 3)})
    assert with_legend.shape[1] > sheet.shape[1] and torch.equal(with_legend[:, : sheet.shape[1]], sheet)
    assert (with_legend == torch.tensor((1, 2, 3), dtype=torch.uint8)[:, None, None]).all(dim=0).any()


def test_a_long_row_is_wrapped_and_a_caption_is_below_its_image():
    images = torch.full((5, 3, 100, 100), 7, dtype=torch.uint8)
    shown = captioned(images, ["a", "a name that is far too long for it" * 3, "", "$x_{$", "7"])
    assert shown.shape[2] > 100 and (shown[:, :, :100] == 7).all() and (shown[0, :, 100:] < 100).any()
    sheet = contact_sheet({"": shown}, columns=2)
    assert sheet.shape[1] == 3 * (shown.shape[2] + 4) and sheet.shape[2] == 2 * (shown.shape[3] + 4)


def test_a_caption_is_whole_where_three_lines_take_it():
    for text in ("a -> b, 98 %", "Abyssinian -> British_Shorthair, 98 %", "x" * 50, "$x$ {} \\frac " * 3):
        lines = _wrapped(text, 190)
        assert len(lines) <= 3 and "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert all(ImageFont.load_default(TEXT).getlength(line) <= 190 for line in lines)
    assert _wrapped("x" * 500, 190)[-1].endswith("x…") and len(_wrapped("x" * 500, 190)) == 3
    assert _wrapped("wide", 1) == ["w", "i", "…"] and _wrapped("", 190) == [""]


def test_hostile_names_are_drawn_as_text():
    for name in ("\x1b[31m\n\r\0", "\ud800\udcff", "\u202eabc", "<img src=x>", "$\\frac$"):
        assert captioned(GREY[None], [name]).shape[1] == 3
        assert draw_caption(GREY, name).shape == GREY.shape
        assert contact_sheet({name: GREY[None]}, {name: (1, 2, 3)}).shape[0] == 3


def test_images_with_captions_of_more_or_fewer_lines_go_into_one():
    one, three = (captioned(GREY[None], [text]) for text in ("a", "long " * 30))
    assert three.shape[2] > one.shape[2]
    both = joined(one, three)
    assert both.shape[2] == three.shape[2] and (both[0, :, one.shape[2] :] == 255).all()
    assert torch.equal(joined(three, one)[0], three[0])
