import pytest
import torch

from project.ops.adversarial import ADVERSARIES, discriminator_accuracy


@pytest.fixture(params=ADVERSARIES)
def adversary(request):
    return ADVERSARIES[request.param]


def test_the_discriminator_loses_least_where_it_is_sure_and_right(adversary):
    right = adversary.discriminator_loss(torch.full((4,), 1.0), torch.full((4,), 2 * adversary.threshold - 1))
    wrong = adversary.discriminator_loss(torch.full((4,), 2 * adversary.threshold - 1), torch.full((4,), 1.0))
    assert right == 0 and wrong > 0.5


def test_the_generator_gains_by_higher_scores(adversary):
    scores = torch.tensor([-0.5, 0.2], requires_grad=True)
    adversary.generator_loss(scores).backward()
    assert (scores.grad < 0).all()


def test_values():
    real, made = torch.tensor([1.0, 0.5]), torch.tensor([0.0, 1.0])
    least_squares, hinge = ADVERSARIES["least_squares"], ADVERSARIES["hinge"]
    assert least_squares.discriminator_loss(real, made).item() == pytest.approx((0.125 + 0.5) / 2)
    assert least_squares.generator_loss(made).item() == pytest.approx(0.5)
    assert hinge.discriminator_loss(real, made).item() == pytest.approx((0.25 + 1.5) / 2)
    assert hinge.generator_loss(made).item() == pytest.approx(-0.5)


def test_accuracy_weighs_real_and_made_ones_the_same():
    assert discriminator_accuracy(torch.tensor([1.0]), torch.tensor([0.0, 1.0, 0.0, 0.0]), 0.5) == (1 + 0.75) / 2
