"""The sentence on under- and overfitting, on made-up curves."""

import pytest

from engine.report.curves import verdict


def curve(values):
    return [(float(epoch + 1), value) for epoch, value in enumerate(values)]


def falling(start, end, number):
    """From `start` towards `end`, ever slower."""
    return [end + (start - end) * 0.6**i for i in range(number)]


FLAT = falling(1.0, 0.5, 20)


@pytest.mark.parametrize(
    ("train", "val", "words"),
    [
        ([1, 0.5, 0.4], [1, 0.6, 0.5], "Too few epochs to judge over- or underfitting: 3 epochs"),
        ([1], [1], "Too few epochs to judge over- or underfitting: 1 epoch "),
        ([1, 0.9, 0.8, 0.7], [], "Nothing was validated"),
        ([1 - 0.05 * i for i in range(10)], [1.1 - 0.05 * i for i in range(10)], "Still improving at the end"),
        (
            falling(1, 0.1, 20),
            [*falling(1, 0.5, 8), *[0.55 + 0.02 * i for i in range(12)]],
            "upward since epoch 8",
        ),
        # One good epoch at the end does not take that back.
        (
            falling(1, 0.1, 20),
            [*falling(1, 0.5, 8), *[0.55 + 0.02 * i for i in range(11)], 0.52],
            "upward since epoch 8",
        ),
        (FLAT, [value + 0.01 for value in FLAT], "Training and validation are close"),
        (FLAT, [value - 0.1 for value in FLAT], "Training and validation are close"),
        (falling(1, 0.1, 20), [value + 0.02 for value in FLAT], "above training's 0.1"),
        # One bad epoch at the end is no turn, and neither is a rise while training stalls as well.
        (falling(1, 0.1, 6), [1.0, 0.8, 0.7, 0.6, 0.55, 0.6], "above training's"),
        ([1, 0.5, 0.5, 0.5, 0.9, 0.9], [1, 0.5, 0.6, 0.7, 0.8, 0.9], "Training and validation are close"),
    ],
)
def test_what_the_curves_show(train, val, words):
    said = verdict(curve(train), curve(val))
    assert words in said and said.count(". ") == 0 and said.endswith(".")


def test_of_an_epoch_the_last_validation_counts_and_epochs_without_one_do_not():
    train = curve([1.0, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1, 0.05])
    val = [(where, value) for epoch in (2, 4, 6, 8) for where, value in ((epoch - 0.5, 9.0), (epoch, 1 / epoch))]
    assert "from epoch 6 to 8" in verdict(train, val)
    assert "3 epochs with both" in verdict(train, val[:6])
