"""What every data module promises, tried on all of them, and on folders of every layout, for each of their tasks."""

import pytest
import torch

from engine.config.defaults import read_defaults
from engine.contract.parts import build_data, find_data
from engine.contract.registry import options_of
from project.data import DATA
from project.tasks import TASKS
from tests.own_data import write_class_folders, write_coco, write_masks, write_pairs, write_voc

# Options that make the stand-in for MNIST enough; an entry of DATA that is not here is tried as it is.
SMALL = {
    "mnist": {"val_size": 60},
    "digits": {"num_train": 12, "num_val": 6, "num_test": 6, "val_digits": 60},
    "digit_pairs": {"val_size": 60},
}
FOLDERS = {
    "classes": (write_class_folders, "classify"),
    "masks": (write_masks, "segment"),
    "voc": (write_voc, "detect"),
    "coco": (write_coco, "detect"),
    "pairs": (write_pairs, "translate"),
}
KINDS = ("classify", "segment", "detect", "translate")
PAIRS = [(name, kind) for name in DATA for kind in KINDS]


@pytest.fixture(params=[*[pair for pair in PAIRS if pair[1] in DATA[pair[0]].tasks], *FOLDERS], ids=str)
def made(request, workplace):
    """A function that makes the same data module each time it is called."""
    if request.param in FOLDERS:
        writer, kind = FOLDERS[request.param]
        name, options = str(writer(workplace / request.param)), {"image_size": [32], "num_workers": 0}
    else:
        name, kind = request.param
        options = SMALL.get(name, {})

    def make(**more):
        data = build_data(name, kind, 3, batch_size=4, **options, **more)
        data.prepare_data()
        data.setup("fit")
        return data

    make.kind, make.name = kind, name
    return make


def equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return torch.equal(a, b)


def test_it_publishes_plain_numbers(made):
    data = made()
    assert all(type(side) is int for side in (*data.image_size, data.in_channels)) and len(data.image_size) == 2
    assert len(data.mean) == len(data.std) == data.in_channels and min(data.std) > 0
    assert data.class_names and all(type(name) is str for name in data.class_names)
    assert made.kind in data.tasks and "\n" not in data.describe()


def test_batches_are_what_its_task_takes(made):
    data = made()
    for loader in (data.train_dataloader(), data.val_dataloader()):
        images, targets = data.on_after_batch_transfer(next(iter(loader)), 0)
        num, num_classes = len(images), len(data.class_names)
        assert images.shape == (num, data.in_channels, *data.image_size) and images.dtype == torch.float32
        assert 1 < num <= 4
        if made.kind == "classify":
            assert targets.shape == (num,) and targets.dtype == torch.int64 and targets.max() < num_classes
        elif made.kind == "segment":
            assert targets.shape == (num, *data.image_size) and targets.dtype == torch.int64
            assert ((targets < num_classes) | (targets == 255)).all()
        elif made.kind == "detect":
            assert len(targets) == num
            for target in targets:
                count = len(target["labels"])
                assert target.keys() == {"boxes", "labels"} and target["boxes"].shape == (count, 4)
                assert target["labels"].dtype == torch.int64 and (target["labels"] < num_classes).all()
                assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
        else:
            assert targets.shape == (num, num_classes, *data.image_size) and targets.dtype == torch.float32
            assert 0 <= targets.min() < targets.max() <= 1


def test_the_same_seed_gives_the_same_batches_and_each_epoch_others(made):
    first, second = (list(made().train_dataloader()) for _ in range(2))
    assert equal(first, second)
    data = made()
    loader = data.train_dataloader()
    loader.batch_sampler.sampler.set_epoch(1)
    assert not equal(first, list(loader))


def test_a_resumed_epoch_goes_on_where_it_was(made):
    whole = list(made().train_dataloader())
    data = made()
    data.load_state_dict({"epoch": 0, "batches": 1, "of": len(whole)})
    assert equal(whole[1:], list(data.train_dataloader()))


def test_splits_share_no_image(made):
    data = made()
    seen = [
        {image.numpy().tobytes() for batch in loader for image in batch[0]}
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    ]
    assert seen[0] and seen[1] and bool(seen[2]) == data.has_test
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]


def test_a_train_size_keeps_a_part_of_the_training_images_and_leaves_validation_as_it_is(made):
    def images(data, split):
        return [data.stores[split][i][0].numpy().tobytes() for i in range(len(data.stores[split]))]

    if "train_size" not in options_of(find_data(made.name)):
        assert "num_train" in options_of(find_data(made.name))
        return
    whole, half = made(), made(train_size=0.5)
    kept = round(len(whole.stores["train"]) / 2)
    assert len(set(images(half, "train"))) == kept and set(images(half, "train")) < set(images(whole, "train"))
    assert images(half, "val") == images(whole, "val")
    assert images(made(train_size=kept), "train") == images(half, "train")
    for wrong in (0, -1, 2.5, 10_000):
        with pytest.raises(ValueError, match=f"train_size is a share, up to 1, or a number .* got {wrong:g}"):
            made(train_size=wrong)


@pytest.mark.parametrize(("name", "kind"), [pair for pair in PAIRS if pair[1] not in DATA[pair[0]].tasks])
def test_data_for_other_tasks_is_refused(name, kind):
    with pytest.raises(ValueError, match=f"data {name} is for task .*, not {kind}"):
        build_data(name, kind, 0)


def test_every_tasks_defaults_name_data_for_it():
    for task in TASKS.values():
        assert task.takes in DATA[read_defaults(task).values["data.name"]].tasks
