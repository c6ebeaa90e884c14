import pytest
import torch

from engine.inputs.letterbox import letterbox_boxes, pad_to_multiple, placed, unletterbox_boxes, unletterbox_map


@pytest.mark.parametrize(
    ("original", "size", "scaled", "corner"),
    [
        ((48, 40), (48, 40), (48, 40), (0, 0)),
        ((50, 100), (40, 60), (30, 60), (5, 0)),
        ((100, 50), (40, 60), (40, 20), (0, 20)),
        ((10, 10), (40, 60), (40, 40), (0, 10)),
        ((1, 1000), (10, 10), (1, 10), (4, 0)),  # never thinner than a pixel
        ((3, 7), (7, 7), (3, 7), (2, 0)),
    ],
)
def test_an_image_keeps_its_proportions_and_is_put_in_the_middle(original, size, scaled, corner):
    assert placed(original, size) == (scaled, corner)


def test_boxes_go_where_their_image_goes():
    boxes = torch.tensor([[0.0, 0, 100, 50], [10, 20, 40, 50]])
    torch.testing.assert_close(
        letterbox_boxes(boxes, (50, 100), (40, 60)), torch.tensor([[0.0, 5, 60, 35], [6, 17, 24, 35]])
    )
    assert letterbox_boxes(boxes[:0], (50, 100), (40, 60)).shape == (0, 4)


@pytest.mark.parametrize("original", [(50, 100), (333, 97), (48, 64)])
def test_unfitting_boxes_is_the_way_back_and_cuts_off_what_is_beyond_the_image(original):
    boxes = torch.tensor([[1.0, 2, 30, 40], [5, 5, 60, 48]])
    torch.testing.assert_close(unletterbox_boxes(letterbox_boxes(boxes, original, (48, 64)), original, (48, 64)), boxes)
    whole = unletterbox_boxes(torch.tensor([[-9.0, -9, 99, 99]]), original, (48, 64))
    torch.testing.assert_close(whole, torch.tensor([[0.0, 0, original[1], original[0]]]))


def test_unfitting_a_map_takes_out_what_lies_around_the_image():
    values = torch.arange(40 * 60).view(1, 40, 60)
    assert torch.equal(unletterbox_map(values, (50, 100)), values[:, 5:35])


def test_images_are_padded_with_their_last_row_and_column_in_their_own_type():
    image = torch.arange(6, dtype=torch.uint8).view(1, 1, 2, 3)
    padded = pad_to_multiple(image, 4)
    assert padded.dtype == torch.uint8 and padded.shape == (1, 1, 4, 4)
    assert torch.equal(padded[..., :2, :3], image) and padded[0, 0, 3].tolist() == [3, 4, 5, 5]
    assert pad_to_multiple(image, 1) is image
    fine = torch.tensor([[[[1 / 3]]]], dtype=torch.float64)
    assert torch.equal(pad_to_multiple(fine, 2), fine.expand(1, 1, 2, 2))
