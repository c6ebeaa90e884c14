import pytest
import torch

from engine.contract.parts import build_data
from project.data.mnist import MNISTDataModule


@pytest.fixture
def data(workplace):
    module = MNISTDataModule(val_size=60, batch_size=30)
    module.prepare_data()
    module.setup("fit")
    return module


def test_split_is_fixed_complete_and_apart_from_the_test_set(data):
    assert {stage: len(store) for stage, store in data.stores.items()} == {"train": 300, "val": 60, "test": 90}
    other = MNISTDataModule(val_size=60, seed=5)
    other.setup("fit")
    assert torch.equal(data.stores["val"].images, other.stores["val"].images)
    flat = {stage: {bytes(i.numpy().tobytes()) for i in store.images} for stage, store in data.stores.items()}
    assert not flat["train"] & flat["val"] and not flat["train"] & flat["test"]


def test_images_stay_bytes_until_they_are_normalised_a_batch_at_a_time(data):
    batch = next(iter(data.train_dataloader()))
    assert batch[0].dtype == torch.uint8 and batch[0].shape == (30, 1, 28, 28) and batch[1].dtype == torch.int64
    images, labels = data.on_after_batch_transfer(batch, 0)
    torch.testing.assert_close(images, (batch[0].float() / 255 - 0.1307) / 0.3081)
    assert torch.equal(labels, batch[1])


def test_validation_and_test_come_in_their_natural_order(data):
    labels = torch.cat([labels for _, labels in data.test_dataloader()])
    assert torch.equal(labels, data.stores["test"].targets)


def test_workers_serve_the_same_batches(workplace):
    batches = []
    for workers in (0, 2):
        module = MNISTDataModule(val_size=60, batch_size=50, num_workers=workers)
        module.setup("fit")
        batches.append([images for images, _ in module.train_dataloader()])
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))


def test_no_validation_when_none_is_held_out(workplace):
    module = MNISTDataModule(val_size=0)
    module.setup("fit")
    assert len(module.stores["train"]) == 360 and module.val_dataloader() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"num_workers": -1}, "num_workers must be 0 or more, got -1"),
        ({"num_workers": 100_000}, "num_workers 100000 is more than this machine can serve: use at most"),
        ({"val_size": -1}, "val_size must be 0 or more"),
        ({"shift": -1.0}, "augmentation is"),
        ({"zoom": 1.0}, "augmentation is"),
        ({"batchsize": 3}, "data mnist has no option 'batchsize'; did you mean batch_size"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_data("mnist", "classify", seed=0, **options)


def test_holding_out_everything_is_refused(workplace):
    with pytest.raises(ValueError, match="val_size must be below the 360 training images, got 360"):
        MNISTDataModule(val_size=360).setup("fit")


def test_an_epoch_is_gone_on_with_if_its_steps_have_the_same_images(data):
    num = len(data.stores["train"])
    of = len(data.train_dataloader())
    position = {"epoch": 0, "batches": 1, "of": of, "images": num, "processes": 1}
    data.check_position(position, 1, None)
    data.batch_size //= 2
    data.check_position(position, 2, None)
    for changed, message in (({"of": of + 1}, f"now has {of}: resume"), ({"images": num + 1}, f"there are now {num}")):
        with pytest.raises(ValueError, match=message):
            data.check_position({**position, **changed}, 2, None)
        data.check_position({**position, **changed, "batches": 0}, 2, None)
