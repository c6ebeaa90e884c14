"""What the tasks have in common, on the smallest of them."""

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from engine.contract.optim import rate_factor
from project.tasks.classifier import LitClassifier

LR = 0.1


def small(**optim):
    torch.manual_seed(0)
    optim = {"name": "sgd", "lr": LR, "momentum": 0.0, **optim}
    return LitClassifier(image_size=(8, 8), backbone={"name": "mlp", "widths": [4], "norm": "none"}, optim=optim)


def loader(num_batches, batch_size=4):
    images = torch.randn(num_batches * batch_size, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return DataLoader(list(zip(images, torch.arange(len(images)) % 10, strict=True)), batch_size=batch_size)


class Rates(pl.Callback):
    """Notes the learning rate of each step."""

    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append(optimizer.param_groups[0]["lr"] / LR)


def fit(task, batches, callbacks=(), ckpt_path=None, **options):
    quietly = dict.fromkeys(("enable_progress_bar", "enable_model_summary", "logger", "enable_checkpointing"), False)
    trainer = pl.Trainer(accelerator="cpu", callbacks=list(callbacks), **quietly, **options)
    trainer.fit(task, loader(batches), ckpt_path=ckpt_path, weights_only=True)
    return trainer


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
@pytest.mark.parametrize(
    ("first", "then", "batches", "shares"),
    [  # 2 of 6 epochs of 10 batches, then others; the shares of the run that are done before each further step
        ({"max_epochs": 6}, {"max_epochs": 6}, 10, [20 / 60 + i / 60 for i in range(40)]),
        ({"max_epochs": 6}, {"max_epochs": 6, "accumulate_grad_batches": 2}, 10, [2 / 6 + i / 30 for i in range(20)]),
        ({"max_epochs": 6}, {"max_epochs": 6, "accumulate_grad_batches": 4}, 10, [2 / 6 + i / 18 for i in range(12)]),
        ({"max_epochs": 6}, {"max_epochs": 6}, 5, [2 / 6 + i / 30 for i in range(20)]),
        ({"max_epochs": 6}, {"max_epochs": 6}, 20, [2 / 6 + i / 120 for i in range(80)]),
        ({"max_epochs": 2}, {"max_epochs": 6}, 10, [2 / 6 + i / 60 for i in range(40)]),  # it was finished
        ({"max_epochs": 6}, {"max_epochs": 3}, 10, [2 / 3 + i / 30 for i in range(10)]),
        ({"max_steps": 40}, {"max_steps": 40, "accumulate_grad_batches": 2}, 10, [0.5 + i / 40 for i in range(20)]),
        ({"max_steps": 20}, {"max_steps": 40}, 10, [0.5 + i / 40 for i in range(20)]),
        ({"max_steps": 25}, {"max_epochs": 5}, 10, [0.4 + i / 50 for i in range(30)]),
    ],
)
def test_the_schedule_follows_the_share_of_the_run_that_is_done(tmp_path, schedule, first, then, batches, shares):
    path = tmp_path / "last.ckpt"

    class Saved(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                trainer.save_checkpoint(path)
                trainer.should_stop = True

    rates = [Rates(), Rates()]
    fit(small(schedule=schedule), 10, [rates[0], Saved()], **first)
    trainer = fit(small(schedule=schedule), batches, [rates[1]], path, **then)
    warmup = 0.25 if schedule == "one_cycle" else 0.0
    assert rates[1].seen == pytest.approx([rate_factor(schedule, warmup, share) for share in shares])
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)
    if first == then and batches == 10:
        whole = Rates()
        fit(small(schedule=schedule), 10, [whole], **first)
        assert rates[0].seen + rates[1].seen == whole.seen


@pytest.mark.parametrize(
    ("accumulated", "share", "steps"),
    [(1, 1 / 3, 20), (2, 1 / 3, 10)],  # one of 3 epochs of 10 batches is done
)
def test_a_checkpoint_that_does_not_hold_its_schedule_is_taken_at_its_word(tmp_path, accumulated, share, steps):
    path = tmp_path / "old.ckpt"
    trainer = fit(small(), 10, max_epochs=1)
    trainer.save_checkpoint(path)
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["course"]
    torch.save(checkpoint, path)
    rates = Rates()
    fit(small(), 10, [rates], path, max_epochs=3, accumulate_grad_batches=accumulated)
    expected = [rate_factor("one_cycle", 0.25, share + (1 - share) * i / steps) for i in range(steps)]
    assert rates.seen == pytest.approx(expected)


class Data(pl.LightningDataModule):
    """Batches of one image, which publishes what it is given."""

    def __init__(self, **published):
        super().__init__()
        for name, value in published.items():
            setattr(self, name, value)

    def train_dataloader(self):
        return loader(1, batch_size=2)

    test_dataloader = train_dataloader


@pytest.mark.parametrize(
    ("published", "message"),
    [
        ({"class_names": tuple("abc")}, "the data has 3 class_names, and the network 10"),
        ({"in_channels": 3}, "the data's in_channels is 3, and the network's 1"),
        ({"image_size": (8, 9)}, r"the data's image_size is \[8, 9\], and the network's \[8, 8\]"),
        ({"mean": (0.5,)}, r"the data's mean is \[0.5\], and the network's \[0.1307\]"),
        ({"tasks": ("detect", "segment")}, "task classify takes data for classify, and this is for detect, segment"),
    ],
)
def test_data_that_a_network_was_not_built_for_is_refused_by_a_plain_trainer(published, message):
    quietly = dict.fromkeys(("enable_progress_bar", "enable_model_summary", "logger", "enable_checkpointing"), False)
    trainer = pl.Trainer(accelerator="cpu", max_epochs=1, **quietly)
    alike = {"class_names": list("abcdefghij"), "in_channels": 1, "image_size": (8, 8), "mean": (0.1307,)}
    trainer.fit(small(), datamodule=Data(**alike, tasks=("classify",), upscale=1))
    for use in (trainer.fit, trainer.test):
        with pytest.raises(ValueError, match=message):
            use(small(), datamodule=Data(**{**alike, **published}))
