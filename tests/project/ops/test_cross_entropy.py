import pytest
import torch
import torch.nn.functional as F

from engine.inputs.letterbox import IGNORE
from project.ops.cross_entropy import cross_entropy

WEIGHTS = torch.tensor([0.5, 2.0, 1.0])


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighed"])
def test_it_is_pytorchs_mean_over_pixels_with_a_class(weights):
    logits, masks = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    masks[0, 0] = IGNORE
    known = masks != IGNORE
    expected = F.cross_entropy(logits.movedim(1, -1)[known], masks[known], weight=weights)
    torch.testing.assert_close(cross_entropy(logits, masks, weights, ignore=IGNORE), expected)


def test_weights_and_smoothing_are_pytorchs_for_classes():
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    expected = F.cross_entropy(logits, labels, weight=WEIGHTS, label_smoothing=0.2)
    torch.testing.assert_close(cross_entropy(logits, labels, WEIGHTS, label_smoothing=0.2), expected)


def test_the_focal_loss_by_hand():
    """Two samples that are right with probabilities 0.9 and 0.2, and one that does not count."""
    logits = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.5, 0.5]]).log()
    labels = torch.tensor([0, 1, IGNORE])
    terms = [0.1**2 * -torch.tensor(0.9).log(), 0.8**2 * -torch.tensor(0.2).log()]
    torch.testing.assert_close(cross_entropy(logits, labels, gamma=2.0, ignore=IGNORE), sum(terms) / 2)
    weighed = cross_entropy(logits, labels, torch.tensor([3.0, 1.0]), gamma=2.0, ignore=IGNORE)
    torch.testing.assert_close(weighed, (3 * terms[0] + terms[1]) / 4)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_a_sample_that_is_certainly_right_has_a_finite_gradient(gamma):
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    cross_entropy(logits, torch.tensor([0]), gamma=gamma).backward()
    assert logits.grad.isfinite().all()


def test_classes_of_no_weight_alone_have_no_loss():
    logits = torch.randn(3, 3, requires_grad=True)
    loss = cross_entropy(logits, torch.zeros(3, dtype=torch.int64), torch.tensor([0.0, 1.0, 1.0]))
    loss.backward()
    assert loss.item() == 0 and (logits.grad == 0).all()


def test_soft_targets_weigh_as_hard_ones():
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    soft = F.one_hot(labels, 3).float()
    torch.testing.assert_close(cross_entropy(logits, soft, WEIGHTS), cross_entropy(logits, labels, WEIGHTS))
    torch.testing.assert_close(cross_entropy(logits, soft), cross_entropy(logits, labels))
