import torch
from torchvision.ops import box_iou

from engine.inputs.boxes import area, cell_centres, offsets_to_boxes, paired_iou


def test_overlap_by_hand():
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 2, 2]])
    b = torch.tensor([[1.0, 1, 3, 3], [0, 0, 2, 2], [2, 0, 4, 2], [5, 5, 6, 6]])
    torch.testing.assert_close(paired_iou(a, b), torch.tensor([1 / 7, 1, 0, 0]))


def test_overlap_of_every_pair_agrees_with_torchvision():
    boxes = torch.rand(9, 2) * 50
    boxes = torch.cat([boxes, boxes + torch.rand(9, 2) * 30 + 1], dim=1)
    torch.testing.assert_close(paired_iou(boxes[:, None], boxes[None]), box_iou(boxes, boxes))


def test_a_box_without_area_overlaps_nothing_and_gives_a_finite_gradient():
    point = torch.tensor([[3.0, 3, 3, 3]], requires_grad=True)
    overlap = paired_iou(point, point)
    overlap.sum().backward()
    assert overlap.item() == 0 and point.grad.isfinite().all() and area(point).item() == 0


def test_cells_lie_row_by_row_in_the_middle_of_their_square():
    centres, strides = cell_centres([(2, 3), (1, 1)], [4, 8], torch.zeros(1))
    assert centres.tolist() == [[2, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6], [4, 4]]
    assert strides.tolist() == [4] * 6 + [8]


def test_offsets_are_in_strides_from_the_cells_centre():
    offsets = torch.tensor([[[0.0, 0, 0, 0], [0.5, -1, torch.log(torch.tensor(3.0)), 0]]])
    boxes = offsets_to_boxes(offsets, torch.tensor([[4.0, 4], [20, 12]]), torch.tensor([8.0, 8]))
    torch.testing.assert_close(boxes, torch.tensor([[[0.0, 0, 8, 8], [12, 0, 36, 8]]]))
