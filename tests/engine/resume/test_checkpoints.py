"""The callback that keeps checkpoints, in a Trainer of one's own: Lightning knows it as the one that does."""

import lightning.pytorch as pl
import torch

from engine.resume.checkpoint_file import read_checkpoint
from engine.resume.checkpoints import DurableCheckpointIO, RunCheckpoints
from engine.resume.stops import StopSignals
from engine.training.progress import EpochLines
from project import LitClassifier, MNISTDataModule


def test_lightning_finds_the_best_checkpoint(workplace):
    """The best weights are those of the first of two epochs, as the second is made worse."""
    record = {"name": "a", "config": {"optim": {}}, "tracker_id": "x"}
    checkpoints = RunCheckpoints(workplace, "val/acc", True, False, record, StopSignals())
    task, data = LitClassifier(), MNISTDataModule(val_size=60, batch_size=30)
    values = iter((0.5, 0.25, 0.6, 0.75))  # two epochs, a test, a validation
    task.on_validation_epoch_end = lambda: task.log("val/acc", next(values))
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        plugins=[DurableCheckpointIO()],
        callbacks=[checkpoints, EpochLines()],
        default_root_dir=workplace,
        num_sanity_val_steps=0,
    )
    chosen = []
    checkpoints.when_best = lambda trainer, task: chosen.append(trainer.current_epoch)
    assert checkpoints.best_model_path == ""
    trainer.fit(task, data)
    assert trainer.checkpoint_callbacks == [checkpoints] and chosen == [0]
    assert checkpoints.best_model_path == str(workplace / "best.ckpt") and checkpoints.best_epoch == 0
    trainer.test(ckpt_path="best", datamodule=data)
    best, last = (read_checkpoint(workplace / f"{name}.ckpt")["state_dict"] for name in ("best", "last"))
    name = next(iter(best))
    assert torch.equal(task.state_dict()[name], best[name]) and not torch.equal(best[name], last[name])
    trainer.validate(task, data)  # measures, and chooses nothing
    assert chosen == [0] and checkpoints.best_value == 0.5
