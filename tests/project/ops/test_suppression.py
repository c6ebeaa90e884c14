import torch
from torch import nn
from torchvision.ops import batched_nms

from project.ops.suppression import likeliest_of_each

IOU, MOST = 0.5, 30


def crowd(images, boxes=80):
    """Return boxes that overlap a lot, with some that do not count; the more of them the later the image."""
    generator = torch.Generator().manual_seed(images)
    middle, half = (torch.rand(images, boxes, 2, generator=generator) for _ in range(2))
    scores = torch.rand(images, boxes, generator=generator)
    scores[scores < torch.linspace(0, 1.1, images)[:, None]] = 0
    labels = torch.randint(0, 2, (images, boxes), generator=generator)
    return torch.cat([60 * middle - 5 - 10 * half, 60 * middle + 5 + 10 * half], dim=-1), scores, labels


class Graph(nn.Module):
    def forward(self, boxes, scores, labels):
        return likeliest_of_each(boxes, scores, labels, IOU, MOST)


def test_what_is_kept_is_what_torchvision_keeps_of_each_image():
    boxes, scores, labels = crowd(4)
    kept = likeliest_of_each(boxes, scores, labels, IOU, MOST)
    assert kept.shape == (4, MOST) and (kept[0] >= 0).all() and (kept[-1] == -1).all()
    for i in range(4):
        counted = scores[i].nonzero()[:, 0]
        expected = counted[batched_nms(boxes[i, counted], scores[i, counted], labels[i, counted], IOU)][:MOST]
        assert kept[i][kept[i] >= 0].tolist() == expected.tolist()


def test_in_a_graph_the_same_are_kept_in_batches_of_any_number():
    dim = torch.export.Dim("batch")
    graph = torch.export.export(Graph(), crowd(2), dynamic_shapes=({0: dim},) * 3).module()
    for images in (1, 3, 7):
        given = crowd(images)
        assert torch.equal(graph(*given), likeliest_of_each(*given, IOU, MOST))


def test_of_boxes_that_do_not_count_none_is_kept():
    boxes, scores, labels = crowd(2)
    assert (likeliest_of_each(boxes, scores * 0, labels, IOU, MOST) == -1).all()
