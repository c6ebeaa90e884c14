import math

import pytest
import torch

from engine.inputs.letterbox import IGNORE
from project.ops.cross_entropy import cross_entropy
from project.ops.segmentation import dice_loss, iou_of_counts


@pytest.mark.parametrize("loss", [lambda *given: cross_entropy(*given, ignore=IGNORE), dice_loss])
def test_a_batch_without_any_class_has_no_loss_and_a_gradient_of_zero(loss):
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    value = loss(logits, torch.full((2, 4, 4), IGNORE))
    value.backward()
    assert value.item() == 0 and (logits.grad == 0).all()


def test_dice_by_hand():
    """Two pixels of class 0 and two of class 1; the network is certain, and right about three of the four."""
    sure = 100.0
    logits = torch.tensor([[[[sure, sure, 0, sure]], [[0, 0, sure, 0]]]])  # says 0, 0, 1, 0
    masks = torch.tensor([[[0, 0, 1, 1]]])
    first, second = 2 * 2 / (3 + 2), 2 * 1 / (1 + 2)
    assert dice_loss(logits, masks, smooth=0.0).item() == pytest.approx(1 - (first + second) / 2)
    assert dice_loss(logits, torch.tensor([[[0, 0, 1, 0]]]), smooth=0.0).item() == pytest.approx(0, abs=1e-6)


def test_dice_leaves_out_classes_that_the_batch_does_not_show_and_ignored_pixels():
    logits = torch.zeros(1, 3, 1, 4)
    masks = torch.tensor([[[0, 0, 1, IGNORE]]])
    thirds = [2 * (2 / 3) / (1 + 2), 2 * (1 / 3) / (1 + 1)]
    assert dice_loss(logits, masks, smooth=0.0).item() == pytest.approx(1 - sum(thirds) / 2)


def test_iou_by_hand():
    counts = torch.tensor([[5, 1, 0], [2, 4, 0], [0, 0, 0]])
    iou = iou_of_counts(counts)
    assert iou[:2].tolist() == pytest.approx([5 / 8, 4 / 7])
    assert math.isnan(iou[2]) and iou.nanmean().item() == pytest.approx((5 / 8 + 4 / 7) / 2)
