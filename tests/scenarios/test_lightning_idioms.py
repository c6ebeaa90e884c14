"""Whoever knows Lightning finds Lightning: tasks and data modules work with a plain Trainer, and can be overridden."""

import csv
import json
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import BackboneFinetuning, EarlyStopping
from lightning.pytorch.tuner import Tuner
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torchmetrics.classification import MulticlassF1Score

from engine.inference import predict
from engine.inputs.drawing import to_image
from project import LitClassifier, MNISTDataModule, load_task
from project.tasks import TASKS
from tests.runs import read_summary, run

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's remarks on what a run of ours sets itself


@pytest.fixture(autouse=True)
def _(workplace):
    pass


def data():
    return MNISTDataModule(val_size=60, batch_size=30)


def trainer(*callbacks, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "logger": False}
    return pl.Trainer(**{"max_epochs": 2, **quiet, "callbacks": list(callbacks), **options})


def test_fit_test_validate_and_predict_with_a_plain_trainer():
    plain, task, images = trainer(), LitClassifier(), data()
    plain.fit(task, images)
    (tested,) = plain.test(ckpt_path="best", datamodule=images, verbose=False)
    (validated,) = plain.validate(task, images, verbose=False)
    assert tested["test/acc"] > 0.9 and validated["val/acc"] > 0.9
    answers = [answer for batch in plain.predict(task, images) for answer in batch]
    assert len(answers) == 90 and answers[0]["class"] == "0" and sum(answers[0]["probabilities"].values()) > 0.99


class Plain(LitClassifier):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Dictionary(LitClassifier):
    def configure_optimizers(self):
        optimiser = torch.optim.SGD(self.parameters(), lr=0.1)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": ReduceLROnPlateau(optimiser), "monitor": "val/loss"},
        }


class Lists(LitClassifier):
    def configure_optimizers(self):
        optimiser = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimiser], [StepLR(optimiser, 1, gamma=0.5)]


@pytest.mark.parametrize("task", [Plain, Dictionary, Lists])
def test_another_optimiser_and_schedule(task):
    plain = trainer()
    plain.fit(task(), data())
    assert type(plain.optimizers[0]) is torch.optim.SGD
    assert plain.optimizers[0].param_groups[0]["lr"] == (0.025 if task is Lists else 0.1)


def test_the_learning_rate_can_be_searched_for():
    task = LitClassifier()
    found = Tuner(trainer()).lr_find(task, datamodule=data(), num_training=20)
    assert task.lr == task.hparams["optim"]["lr"] == found.suggestion() != LitClassifier().lr == 0.01


def test_a_frozen_backbone_thaws_and_a_run_can_end_early():
    task = LitClassifier()
    seen = []

    class Watch(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            seen.append(next(pl_module.backbone.parameters()).requires_grad)

    early = EarlyStopping("val/loss", patience=1, min_delta=100.0)
    trainer(BackboneFinetuning(unfreeze_backbone_at_epoch=1), early, Watch(), max_epochs=5).fit(task, data())
    assert seen == [False, True]


def test_what_a_subclass_logs_is_logged():
    class Logs(LitClassifier):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("own", loss * 2)
            return loss

    plain = trainer(max_epochs=1)
    plain.fit(Logs(), data())
    assert {"own", "train/loss", "val/acc"} <= plain.callback_metrics.keys()


class LitPlain(LitClassifier):
    """Written by the Lightning docs alone."""

    def __init__(self, **options):
        super().__init__(**options)
        self.f1 = MulticlassF1Score(10, average="micro")  # the accuracy by another name

    def training_step(self, batch, batch_idx):
        images, labels = batch
        loss = self.criterion(self(images), labels)
        self.log("train/loss", loss)
        self.log("train/largest", loss, on_step=False, on_epoch=True, reduce_fx="max")
        return loss

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        images, labels = batch
        self.f1.update(self(images), labels)
        self.log("val/f1", self.f1)


def test_a_task_written_by_the_lightning_docs_is_trained_and_recorded(monkeypatch):
    monkeypatch.setitem(TASKS, "classify", LitPlain)
    run("--name", "a", "--max_epochs", 1, "--log_every_n_steps", 1)
    with Path("checkpoints/a/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    summary = read_summary("a")
    assert len(losses) == 10 and losses == [float(row["train/loss_step"]) for row in rows if row["train/loss_step"]]
    assert summary["metrics"]["train/largest"] == max(losses) and summary["images_per_second"] > 0
    for split in ("val", "test"):  # which differ
        assert summary["metrics"][f"{split}/f1"] == pytest.approx(summary["metrics"][f"{split}/acc"])


class LitMean(LitClassifier):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("own", loss / 3, on_step=False, on_epoch=True)
        return loss


def test_means_over_an_epoch_are_those_of_an_uninterrupted_one_after_a_resume_in_its_middle():
    class Save(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if batch_idx == 3:
                trainer.save_checkpoint("middle.ckpt")

    def means(*callbacks, **options):
        pl.seed_everything(0, verbose=False)
        plain = trainer(*callbacks, max_epochs=1, limit_val_batches=0)
        plain.fit(LitMean(), data(), **options)
        return {name: plain.callback_metrics[name] for name in ("train/loss", "train/acc", "own")}

    whole = means(Save())
    resumed = means(ckpt_path="middle.ckpt", weights_only=True)
    assert resumed == whole and whole["own"] == pytest.approx(whole["train/loss"].item() / 3)


def test_an_image_in_python_is_answered_as_by_predict():
    run("--name", "a", "--max_epochs", 1)
    images = data()
    images.setup("test")
    image = to_image(images.stores["test"].images[:1][0])
    image.save("digit.png")
    answer = load_task("checkpoints/a/best.ckpt").predict_image(image)
    predict.main(["checkpoints/a/best.ckpt", "digit.png", "--output", "out.json", "--device", "cpu"])
    (said,) = json.loads(Path("out.json").read_text())
    assert said["class"] == answer["class"] and said["probability"] == answer["probability"]


def test_a_callback_of_ones_own_is_given_to_every_run(monkeypatch):
    began = []

    class Own(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            began.append(trainer.max_epochs)

    monkeypatch.setattr("project.callbacks.own", lambda config: [Own()])
    run("--name", "a", "--max_epochs", 1)
    assert began == [1] and read_summary("a")["status"] == "finished"
