"""The detection head on one map of 2 x 2 cells of 16 pixels, by hand."""

import math

import pytest
import torch

from engine.inputs.boxes import cell_centres
from project.heads.yolox import Cells, YOLOXHead

CENTRES, STRIDES = cell_centres([(2, 2)], [16], torch.zeros(1))
HEAD = YOLOXHead([4], [16], 2)
OFF = -20.0  # a logit that is as good as never


def cells(boxes, objectness, classes):
    return Cells(
        torch.tensor(boxes).float().view(1, 4, 4),
        torch.tensor(objectness).float().view(1, 4),
        torch.tensor(classes).float().view(1, 4, 2),
        CENTRES,
        STRIDES,
    )


def target(*boxes, labels=()):
    return [{"boxes": torch.tensor(boxes).float().view(-1, 4), "labels": torch.tensor(labels).long()}]


def objects_found(head, raw, score_threshold):
    """Return what is found in the first image, without unused rows."""
    found = head.decode(raw, score_threshold)
    assert all(value.shape[1] == head.max_detections for value in found.values())
    return {name: value[0][found["scores"][0] > 0] for name, value in found.items()}


SQUARES = torch.cat([CENTRES - 8, CENTRES + 8], dim=1).tolist()


def test_a_certain_and_right_answer_costs_nothing():
    raw = cells(SQUARES, [-OFF, OFF, OFF, OFF], [[-OFF, OFF]] * 4)
    loss = HEAD.loss(raw, target([0, 0, 16, 16], labels=[0]))
    assert {name: value.item() for name, value in loss.items()} == pytest.approx(
        {"loss_box": 0, "loss_object": 0, "loss_class": 0}, abs=1e-4
    )


def test_the_parts_of_the_loss_by_hand():
    """The answering cell's box covers half of the object; objectness and classes are at even odds everywhere."""
    boxes = [[0, 0, 16, 8], *SQUARES[1:]]
    loss = HEAD.loss(cells(boxes, [0] * 4, [[0, 0]] * 4), target([0, 0, 16, 16], labels=[1]))
    assert loss["loss_box"].item() == pytest.approx(5 * (1 - 0.5**2))
    assert loss["loss_object"].item() == pytest.approx(4 * math.log(2))
    assert loss["loss_class"].item() == pytest.approx(2 * math.log(2))  # whatever is wanted, at even odds


def test_images_without_objects_teach_that_there_are_none():
    raw = cells(SQUARES, [0] * 4, [[0, 0]] * 4)
    loss = HEAD.loss(raw, target())
    assert loss["loss_box"] == 0 and loss["loss_class"] == 0
    assert loss["loss_object"].item() == pytest.approx(4 * math.log(2))


def test_loss_is_divided_by_the_answering_cells_of_the_whole_batch():
    one = cells(SQUARES, [0] * 4, [[0, 0]] * 4)
    both = Cells(*(torch.cat([part, part]) for part in one[:3]), CENTRES, STRIDES)
    objects = target([0, 0, 16, 16], labels=[0])
    for name, value in HEAD.loss(both, [*objects, *objects]).items():
        torch.testing.assert_close(value, HEAD.loss(one, objects)[name])


def test_duplicates_are_left_out_and_other_classes_are_not():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 11], [0, 0, 10, 10], [40, 40, 50, 50]]
    raw = cells(boxes, [3, 2, 1, OFF], [[9, OFF], [9, OFF], [OFF, 9], [9, OFF]])
    found = objects_found(HEAD, raw, 0.3)
    assert found["boxes"].tolist() == [boxes[0], boxes[2]] and found["labels"].tolist() == [0, 1]
    assert found["scores"].tolist() == pytest.approx([1 / (1 + math.exp(-3)), 1 / (1 + math.exp(-1))], abs=1e-3)
    assert len(objects_found(HEAD, raw, 0.9)["boxes"]) == 1
    assert len(objects_found(HEAD, raw, 0.99)["boxes"]) == 0


def test_no_more_objects_than_asked_for():
    head = YOLOXHead([4], [16], 2, max_detections=2)
    boxes = [[0, 0, 9, 9], [20, 0, 29, 9], [0, 20, 9, 29], [20, 20, 29, 29]]
    found = objects_found(head, cells(boxes, [1, 2, 3, 4], [[9, OFF]] * 4), 0.1)
    assert found["boxes"].tolist() == [boxes[3], boxes[2]]  # the likeliest


def test_every_cell_starts_out_improbable():
    raw = YOLOXHead([4], [16], 2)([torch.randn(2, 4, 3, 3)], (48, 48))
    assert raw.objectness.sigmoid().mean().item() == pytest.approx(0.01, abs=0.02)


def test_it_learns_to_find_what_it_was_shown():
    torch.manual_seed(0)
    features = [torch.randn(2, 4, 8, 8), torch.randn(2, 4, 4, 4)]
    head = YOLOXHead([4, 4], [8, 16], 2, width=16)
    objects = target([3, 5, 30, 22], [40, 40, 60, 63], labels=[0, 1]) + target()
    steps = 160
    optimiser = torch.optim.Adam(head.parameters(), lr=0.01)
    # The rate ends at 0: how far a network still swings at its full rate depends on the processor's rounding.
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=steps)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.stack(list(head.loss(head(features, (64, 64)), objects).values())).sum().backward()
        optimiser.step()
        decay.step()
    raw = head(features, (64, 64))
    assert head.decode(raw, 0.3)["scores"][1].max() == 0
    found = objects_found(head, raw, 0.3)
    assert set(found["labels"].tolist()) == {0, 1}
    likeliest = torch.stack([found["scores"].where(found["labels"] == label, 0.0).argmax() for label in (0, 1)])
    # Reached: 0.3 pixels at most, in 16 runs on two processors.
    torch.testing.assert_close(found["boxes"][likeliest], objects[0]["boxes"], atol=1.5, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 0}, "levels must be 1 or more"),
        ({"nms_iou": 0.0}, r"nms_iou is an overlap in \(0, 1\], got 0.0"),
        ({"convs": -1}, "convs is a number of convolutions"),
        ({"activation": "reluu"}, "unknown activation 'reluu'; did you mean relu"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        YOLOXHead([4], [16], 2, **options)
