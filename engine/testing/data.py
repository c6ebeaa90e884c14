"""What every data module of images promises."""

from collections.abc import Callable
from typing import Any

import torch

from engine.contract.data import DataModule
from engine.contract.registry import options_of

Build = Callable[..., Any]  # a data module of the same images each time, with batches of 4; it takes more options


def _ready(build: Build, **more: Any) -> Any:
    data = build(**more)
    assert isinstance(data, DataModule)
    data.prepare_data()
    data.setup("fit")
    return data


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return torch.equal(a, b)


def it_publishes_plain_numbers(build: Build, kind: str) -> None:
    data = _ready(build)
    facts = data.facts()
    assert all(type(side) is int for side in (*facts["image_size"], facts["in_channels"]))
    assert len(facts["image_size"]) == 2 and min(facts["std"]) > 0
    assert len(facts["mean"]) == len(facts["std"]) == facts["in_channels"]
    assert data.class_names and all(type(name) is str for name in data.class_names)
    assert kind in data.tasks and "\n" not in data.describe()


def batches_are_what_its_task_takes(build: Build, kind: str) -> None:
    data = _ready(build)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        images, targets = data.on_after_batch_transfer(next(iter(loader)), 0)
        facts, num, num_classes = data.facts(), len(images), len(data.class_names)
        size = tuple(facts["image_size"])
        assert images.shape == (num, facts["in_channels"], *size) and images.dtype == torch.float32
        assert 1 < num <= 4
        if kind == "classify":
            assert targets.shape == (num,) and targets.dtype == torch.int64 and targets.max() < num_classes
        elif kind == "segment":
            assert targets.shape == (num, *size) and targets.dtype == torch.int64
            assert ((targets < num_classes) | (targets == 255)).all()
        elif kind == "detect":
            assert len(targets) == num
            for target in targets:
                count = len(target["labels"])
                assert target.keys() == {"boxes", "labels"} and target["boxes"].shape == (count, 4)
                assert target["labels"].dtype == torch.int64 and (target["labels"] < num_classes).all()
                assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
        elif kind == "translate":
            assert targets.shape == (num, num_classes, *size) and targets.dtype == torch.float32
            assert 0 <= targets.min() < targets.max() <= 1
        elif kind == "multilabel":
            assert targets.shape == (num, num_classes) and targets.dtype == torch.float32
            assert ((targets == 0) | (targets == 1)).all()
        elif kind == "regress":
            assert targets.shape == (num, num_classes) and targets.dtype == torch.float32 and targets.isfinite().all()


def the_same_seed_gives_the_same_batches_and_each_epoch_others(build: Build, kind: str) -> None:
    first, second = (list(_ready(build).train_dataloader()) for _ in range(2))
    assert _equal(first, second)
    loader = _ready(build).train_dataloader()
    loader.batch_sampler.sampler.set_epoch(1)
    assert not _equal(first, list(loader))


def a_resumed_epoch_goes_on_where_it_was(build: Build, kind: str) -> None:
    whole = list(_ready(build).train_dataloader())
    data = _ready(build)
    data.load_state_dict({"epoch": 0, "batches": 1, "of": len(whole)})
    assert _equal(whole[1:], list(data.train_dataloader()))


def splits_share_no_image(build: Build, kind: str) -> None:
    data = _ready(build)
    seen = [
        {image.numpy().tobytes() for batch in loader for image in batch[0]}
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    ]
    assert seen[0] and seen[1] and bool(seen[2]) == data.has_test
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]


def a_train_size_keeps_a_part_of_the_training_images_and_leaves_validation_as_it_is(build: Build, kind: str) -> None:
    """For a data module that has this option."""

    def images(data: Any, split: str) -> list[bytes]:
        return [data.stores[split][i][0].numpy().tobytes() for i in range(len(data.stores[split]))]

    whole = _ready(build)
    if "train_size" not in options_of(type(whole)):
        return
    half = _ready(build, train_size=0.5)
    kept = round(len(whole.stores["train"]) / 2)
    assert len(set(images(half, "train"))) == kept and set(images(half, "train")) < set(images(whole, "train"))
    assert images(half, "val") == images(whole, "val")
    assert images(_ready(build, train_size=kept), "train") == images(half, "train")
    for wrong in (0, -1, 2.5, 10_000):
        try:
            _ready(build, train_size=wrong)
        except ValueError as error:
            assert "train_size is a share, up to 1, or a number" in str(error) and str(error).endswith(f"got {wrong:g}")
        else:
            raise AssertionError(f"train_size {wrong} was taken")


DATA_CHECKS: list[Callable[..., None]] = [
    it_publishes_plain_numbers,
    batches_are_what_its_task_takes,
    the_same_seed_gives_the_same_batches_and_each_epoch_others,
    a_resumed_epoch_goes_on_where_it_was,
    splits_share_no_image,
    a_train_size_keeps_a_part_of_the_training_images_and_leaves_validation_as_it_is,
]


def check_data(build: Build, kind: str) -> None:
    """Try all that a data module promises.

    Args:
        build: returns the data module anew, with batches of 4 and the same seed, and takes more options for it.
        kind: what it is built for: classify, segment, detect, translate, regress,
            multilabel, or a kind of one's own.

    Raises:
        AssertionError: it does not keep a promise, which the function that failed names.
    """
    for check in DATA_CHECKS:
        check(build, kind)
