import pytest
import torch
import torch.nn.functional as F

from project.data.digit_pairs import DigitPairsDataModule, outline
from project.data.mnist import MNISTDataModule


@pytest.fixture(autouse=True)
def _(workplace):
    pass


def made(**options):
    data = DigitPairsDataModule(**{"val_size": 60, **options})
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_source_is_its_digit_made_smaller_with_noise_and_enlarged_by_repeating(factor):
    store = made(factor=factor, noise=0.05).stores["test"]
    small = store.images[..., ::factor, ::factor]
    assert torch.equal(small.repeat_interleave(factor, 2).repeat_interleave(factor, 3), store.images)
    clean = F.avg_pool2d(store.targets.float(), factor)
    noise = (small - clean)[(clean > 50) & (clean < 205)]  # where nothing is cut off
    assert noise.std() == pytest.approx(0.05 * 255, rel=0.1) and abs(noise.mean()) < 2


def test_targets_are_the_digits_of_their_split():
    data, digits = made(), MNISTDataModule(val_size=60)
    digits.prepare_data()
    digits.setup("fit")
    for split in ("train", "val", "test"):
        assert torch.equal(data.stores[split].targets, digits.stores[split].images)


def test_noise_follows_from_seed_split_and_index_alone():
    first, again, other = made(), made(seed=9, batch_size=7), made(pair_seed=1)
    for split in ("train", "val", "test"):
        assert torch.equal(first.stores[split].images, again.stores[split].images)
        assert not torch.equal(first.stores[split].images, other.stores[split].images)
    # More images, the same noise for those there were: the training split is longer without validation.
    digits = torch.full((5, 1, 28, 28), 100, dtype=torch.uint8)
    assert torch.equal(first._source(digits, 0)[:3], first._source(digits[:3], 0))
    assert not torch.equal(first._source(digits, 0), first._source(digits, 1))


def test_an_outline_runs_around_the_ink():
    digit = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    digit[..., 10:14, 5:9] = 200
    line = outline(digit)
    assert line.sum() == 255 * (6 * 6 - 4 * 4) and (line[digit > 0] == 0).all() and line[0, 0, 9, 4] == 255
    data = made(kind="fill")
    assert torch.equal(data.stores["val"].images, outline(data.stores["val"].targets)) and data.upscale == 1


def test_the_line_on_it_says_what_is_made_of_what():
    assert made().describe().startswith("MNIST's digits at 14x14 pixels with noise of 0.1, and clean: 300 train")
    assert made(kind="fill").describe().startswith("outlines of MNIST's digits, and the digits: 300 train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "other"}, "kind is restore or fill, got 'other'"),
        ({"factor": 3}, "factor is a divisor of 28 pixels: 1, 2, 4, 7 or 14, got 3"),
        ({"noise": 2.0}, "noise is a deviation in 0..1, got 2.0"),
        ({"pair_seed": -1}, "pair_seed is 0 or more, got -1"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DigitPairsDataModule(**options)
