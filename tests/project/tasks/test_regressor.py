import lightning.pytorch as pl
import pytest
import torch

from engine.contract.data import ImageDataModule
from engine.data.store import ImageStore
from engine.testing import check_task
from engine.testing.tasks import quiet
from project.tasks.regressor import LitRegressor

SMALL = {"backbone": {"name": "cnn", "widths": [4, 8]}, "image_size": (16, 16), "in_channels": 1}
GREY = {"mean": (0.5,), "std": (0.25,)}


class Squares(ImageDataModule):
    """Images of a bright square, whose side and area are to be told."""

    tasks = ("regress",)
    in_channels, image_size = 1, (16, 16)
    mean, std = (0.5,), (0.25,)
    class_names = ("side", "area")

    def __init__(self, num=64, unit=1000.0):
        super().__init__(batch_size=16, num_workers=0, seed=0)
        self.num, self.unit = num, unit

    def setup(self, stage):
        sides = torch.arange(self.num) % 13 + 2
        images = torch.zeros(self.num, 1, 16, 16, dtype=torch.uint8)
        for image, side in zip(images, sides.tolist(), strict=True):
            image[:, :side, :side] = 250
        numbers = torch.stack([sides * self.unit, sides.square()], dim=1).float()
        self.stores = dict.fromkeys(("train", "val", "test"), ImageStore(images, numbers))


def small(**options):
    return LitRegressor(["side", "area"], **SMALL, **GREY, **options)


@pytest.mark.parametrize("loss", ["l1", "huber"])
def test_it_keeps_its_promises_with_other_losses(loss):
    check_task("regress", backbone={"name": "cnn", "widths": [4, 8]}, loss=loss)


def test_targets_are_standardised_by_the_training_images_and_predicted_in_their_own_units():
    pl.seed_everything(0, verbose=False)
    task, data = small(optim={"schedule": "constant", "lr": 0.01}), Squares()
    trainer = quiet(max_epochs=60)
    trainer.fit(task, datamodule=data)
    numbers = data.stores["train"].numbers.double()
    assert task.hparams["target_mean"] == pytest.approx(numbers.mean(dim=0).tolist())
    assert task.hparams["target_std"] == pytest.approx(numbers.std(dim=0, correction=0).tolist())
    measured = trainer.test(task, datamodule=data, verbose=False)[0]
    assert measured["test/r2"] > 0.95 and measured["test/r2/area"] > 0.95
    assert measured["test/mae/side"] < 700 and measured["test/mae/area"] < 20
    assert measured["test/mae"] == pytest.approx((measured["test/mae/side"] + measured["test/mae/area"]) / 2)
    images = task.input.prepare(data.stores["train"].images[:4])
    with torch.no_grad():
        answer = task.eval().answers(task.outputs(images), [(16, 16)] * 4)[3]
    assert answer.keys() == {"side", "area"} and abs(answer["side"] - 5000) < 2000


def test_the_measures_are_in_the_targets_units():
    task = small(target_mean=[10.0, 0.0], target_std=[2.0, 1.0])
    task.on_validation_epoch_start()
    task.forward = lambda images: torch.tensor([[0.0, 1.0], [1.0, 3.0]])  # 10 and 1, 12 and 3
    task.validation_step((torch.zeros(2, 1, 16, 16), torch.tensor([[13.0, 1.0], [11.0, 1.0]])), 0)
    found = task.errors_of(task.collected.compute(), torch.ones(2))
    assert found["mae"].tolist() == pytest.approx([2.0, 1.0])
    assert found["rmse"].tolist() == pytest.approx([5**0.5, 2**0.5])
    assert found["r2"][0].item() == pytest.approx(-4.0) and found["r2"][1].isnan()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "l2"}, "loss is one of mse, l1, huber, got 'l2'"),
        ({"target_mean": [1.0, 2.0]}, r"a number for each of 2 outputs, got \[1.0, 2.0\] and None"),
        ({"target_mean": [1.0], "target_std": [1.0]}, "a number for each of 2 outputs"),
        ({"target_mean": [1.0, 2.0], "target_std": [1.0, 0.0]}, r"target_std is above 0, got .* \[1.0, 0.0\]"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_a_number_that_is_always_the_same_is_refused_before_training():
    with pytest.raises(ValueError, match="side is 0 in all training images: there is nothing to learn"):
        quiet(max_epochs=1).fit(small(), datamodule=Squares(unit=0.0))
    with pytest.raises(ValueError, match="side is not a finite number in all training images"):
        quiet(max_epochs=1).fit(small(), datamodule=Squares(unit=float("nan")))


def test_a_resumed_run_keeps_its_statistics_and_given_ones_are_taken():
    task = small()
    task.take_choices({"target_mean": [1.0, 2.0], "target_std": [3.0, 4.0]})
    assert task.hparams["target_std"] == [3.0, 4.0]
    task = small(target_mean=[1.0, 2.0], target_std=[3.0, 4.0])
    task.take_choices({"target_mean": [0.0, 0.0], "target_std": [1.0, 1.0]})
    quiet(max_epochs=1).fit(task, datamodule=Squares())
    assert task.hparams["target_mean"] == [1.0, 2.0]
