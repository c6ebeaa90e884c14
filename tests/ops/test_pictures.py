import torch

from project.ops.pictures import class_colour, draw_boxes, draw_caption, draw_masks

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


def test_a_mask_leaves_the_ground_and_what_is_ignored_as_they_are():
    mask = torch.zeros(60, 80, dtype=torch.uint8)
    mask[:10], mask[50:] = 2, 255
    drawn = draw_masks(GREY, mask)
    assert (drawn[:, 10:] == 100).all()
    expected = 0.4 * 100 + 0.6 * torch.tensor(class_colour(1))
    assert (drawn[:, :10].float() - expected[:, None, None]).abs().max() <= 1
    assert torch.equal(draw_masks(GREY, torch.zeros_like(mask)), GREY)


def test_a_caption_stays_within_a_tiny_image():
    assert draw_caption(GREY[:, :8, :8], "seven 99 %").shape == (3, 8, 8)


def test_colours_of_many_classes_differ():
    assert len({class_colour(k) for k in range(35)}) == 35
