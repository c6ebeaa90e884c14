"""Each private part of Lightning and torch that resuming relies on: a release that changes one fails its test."""

import ctypes
import inspect
import multiprocessing
import os
import signal
import subprocess
import sys
from datetime import timedelta
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import RunningStage
from torch.utils.data import DataLoader

from engine.contract.optim import Scheduled
from engine.data.sampler import EpochBatchSampler
from engine.resume import lightning_internals as internals

TRAIN, VAL = 4, 3  # batches


class Line(pl.LightningModule):
    """One weight, trained on nothing worth learning."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def training_step(self, batch, batch_idx):
        return (self.weight * batch).mean()

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        optimiser = torch.optim.SGD(self.parameters(), lr=0.1)
        schedule = Scheduled(optimiser, lambda step: 1 / (1 + step))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Ask(Callback):
    """Notes what a question about the Trainer is answered in some of its hooks."""

    def __init__(self, question, *hooks):
        self.answers = []
        for hook in hooks:
            setattr(self, hook, lambda trainer, *rest: self.answers.append(question(trainer)))


@pytest.fixture
def trainer(tmp_path):
    def make(*callbacks, **options):
        silent = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
        settings = {**silent, "max_epochs": 2, "num_sanity_val_steps": 0, "enable_checkpointing": False, **options}
        return pl.Trainer(**settings, callbacks=list(callbacks), default_root_dir=tmp_path)

    return make


def fit(trainer, **options):
    batches = [DataLoader(torch.ones(count, 1)) for count in (TRAIN, VAL)]
    trainer.fit(Line(), *batches, **options)
    return trainer


def asked(trainer, question, *hooks, **options):
    ask = Ask(question, *hooks)
    fit(trainer(ask, **options))
    return ask.answers


def test_current_hook(trainer):
    seen = []

    class Hooks(Line):
        def training_step(self, batch, batch_idx):
            seen.append(internals.current_hook(self))
            return super().training_step(batch, batch_idx)

        def on_train_epoch_end(self):
            seen.append(internals.current_hook(self))

    module = Hooks()
    assert internals.current_hook(module) is None
    trainer(max_epochs=1).fit(module, DataLoader(torch.ones(1)))
    assert seen == ["training_step", "on_train_epoch_end"]


def test_batches_begun(trainer):
    assert asked(trainer, internals.batches_begun, "on_train_batch_start") == [1, 2, 3, 4] * 2
    assert asked(trainer, internals.batches_begun, "on_train_epoch_end") == [TRAIN, TRAIN]


def test_batches_begun_in_all(trainer):
    assert asked(trainer, internals.batches_begun_in_all, "on_train_batch_start") == [1, 2, 3, 4, 5, 6, 7, 8]
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Line,
            "on_after_batch_transfer",
            lambda self, batch, idx: (seen.append(internals.batches_begun_in_all(self.trainer)), batch)[1],
        )
        fit(trainer(limit_val_batches=0))
    assert seen == [0, 1, 2, 3, 4, 5, 6, 7]


def test_epochs_begun_and_ended(trainer):
    hooks = ("on_train_batch_start", "on_train_epoch_end")
    answers = asked(trainer, internals.epochs_begun_and_ended, *hooks)
    assert answers == [(1, 0)] * TRAIN + [(1, 1)] + [(2, 1)] * TRAIN + [(2, 2)]
    answers = asked(trainer, internals.epochs_begun_and_ended, "on_train_epoch_end", max_steps=2)
    assert answers == [(1, 1)]  # the last batch of a run counts as an epoch's last


def test_validation_batches(trainer):
    answers = asked(trainer, internals.validation_batches, "on_validation_batch_end", val_check_interval=2)
    assert answers == [(1, 1), (2, 2), (3, 3), (4, 1), (5, 2), (6, 3)] * 2


def test_is_validation_due(trainer):
    answers = asked(trainer, internals.is_validation_due, "on_train_batch_end", val_check_interval=2, max_epochs=1)
    assert answers == [False, True, False, True]

    class Stop(Callback):
        def on_train_batch_end(self, trainer, *rest):
            trainer.should_stop = True
            due.append(internals.is_validation_due(trainer))
            assert trainer.should_stop

    due = []
    fit(trainer(Stop(), max_epochs=1))
    assert due == [False]


def test_start_with_validation_and_set_validation_batches(trainer, tmp_path):
    """Saved when the first of an epoch's two validations is due: it comes first, whole, and counts as the first."""

    class Save(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            if index == 1:
                trainer.save_checkpoint(tmp_path / "cut.ckpt")

    class GoOn(Callback):
        events = ()

        def on_load_checkpoint(self, trainer, module, checkpoint):
            internals.start_with_validation(checkpoint["loops"]["fit_loop"], 0)

        def on_validation_start(self, trainer, module):
            if not self.events:
                internals.set_validation_batches(trainer, 0)

        def on_validation_batch_end(self, trainer, module, outputs, batch, index, *rest):
            self.events = (*self.events, f"val {index}")
            seen.append(internals.validation_batches(trainer)[0])

        def on_train_batch_start(self, trainer, module, batch, index):
            self.events = (*self.events, f"train {index}")

    seen = []
    fit(trainer(Save(), max_epochs=1, val_check_interval=2))
    go_on = GoOn()
    with pytest.warns(match="resumable"):
        fit(trainer(go_on, max_epochs=1, val_check_interval=2), ckpt_path=tmp_path / "cut.ckpt", weights_only=True)
    whole = ("val 0", "val 1", "val 2")
    assert go_on.events == (*whole, "train 2", "train 3", *whole) and seen == [1, 2, 3, 4, 5, 6]


def test_set_rates():
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    schedule = Scheduled(optimiser, lambda step: 1 / (1 + step))
    optimiser.step()
    schedule.step()
    internals.set_rates(schedule, [0.8])
    assert schedule.get_last_lr() == [group["lr"] for group in optimiser.param_groups] == [0.4]
    optimiser.step()
    schedule.step()
    assert schedule.get_last_lr() == [pytest.approx(0.8 / 3)]


def test_average_of(trainer):
    averaging = WeightAveraging()
    assert internals.average_of(averaging) is None
    answers = []
    ask = Ask(lambda trainer: answers.append(internals.average_of(averaging)), "on_train_start")
    fit(trainer(averaging, ask, max_steps=1))
    assert [name for name, _ in answers[0].named_parameters()] == ["module.weight"]


def test_bar_from_one(trainer):
    class Bar(internals.BarFromOne):
        def on_train_epoch_start(self, trainer, module):
            super().on_train_epoch_start(trainer, module)
            labels.append(self.progress.tasks[0].description)

    labels = []
    fit(trainer(Bar(), enable_progress_bar=True))
    assert labels == ["Epoch 1/2", "Epoch 2/2"]


def test_share_images_ourselves():
    """A loader whose batch sampler is not PyTorch's own is an error, unless Lightning leaves it alone."""
    shared = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False)
    loader = DataLoader(range(4), batch_sampler=EpochBatchSampler(4, 2))
    with pytest.raises(TypeError, match="batch sampler"):
        shared._data_connector._prepare_dataloader(loader, False, RunningStage.TRAINING)
    internals.share_images_ourselves(shared)
    assert shared._data_connector._prepare_dataloader(loader, False, RunningStage.TRAINING) is loader


def test_leave_signals_to_us(trainer):
    def handlers(trainer):
        return signal.getsignal(signal.SIGTERM)

    assert asked(trainer, handlers, "on_train_start", max_epochs=1) != [handlers(None)]  # Lightning's own
    ask = Ask(handlers, "on_train_start")
    left = trainer(ask, max_epochs=1)
    internals.leave_signals_to_us(left)
    fit(left)
    assert ask.answers == [handlers(None)]


def test_limit_waiting(trainer, monkeypatch):
    minute = timedelta(minutes=1)
    internals.limit_waiting(trainer(), minute)  # one process waits for none
    several = trainer(strategy="ddp", devices=2)
    given = []
    monkeypatch.setattr(
        "lightning.pytorch.strategies.ddp._init_dist_connection", lambda *names, **more: given.append(more["timeout"])
    )
    internals.limit_waiting(several, minute)
    assert isinstance(several.strategy, DDPStrategy)
    several.strategy.setup_distributed()
    assert given == [minute]


def test_end_processes(trainer):
    internals.end_processes(trainer())  # no launcher
    several = trainer(strategy="ddp", devices=2)
    several.strategy._configure_launcher()
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    watched = several.strategy.launcher.procs
    assert watched == []
    watched.append(process)
    internals.end_processes(several)
    assert process.wait(timeout=60) == -signal.SIGKILL and watched == []


def test_join_again(trainer, monkeypatch):
    """After a restart there is a group, in torchrun's store, and Lightning takes it."""
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    assert internals.torchrun_store() is None
    agent = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    variables = {
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RUN_ID": "x",
        "TORCHELASTIC_RESTART_COUNT": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(agent.port),
        **dict.fromkeys(("RANK", "LOCAL_RANK"), "0"),
        **dict.fromkeys(("WORLD_SIZE", "OMP_NUM_THREADS"), "1"),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    two = SimpleNamespace(world_size=2, strategy=SimpleNamespace(root_device=torch.device("cpu")))
    internals.join_again(two, timedelta(seconds=30))
    try:
        formed = dist.group.WORLD
        assert dist.get_world_size() == 1 and formed is not None
        ask = Ask(lambda trainer: dist.group.WORLD is formed, "on_train_start")
        fit(trainer(ask, strategy="ddp", devices=1, max_steps=1, limit_val_batches=0))
        assert ask.answers == [True]
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def signal_with_parent():
    """Return the signal that this process gets when its parent ends."""
    value = ctypes.c_int()
    assert ctypes.CDLL(None).prctl(2, ctypes.byref(value)) == 0  # 2 is PR_GET_PDEATHSIG
    return value.value


def set_and_read_it():
    internals.die_with_parent()
    os._exit(signal_with_parent())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_die_with_parent():
    assert signal_with_parent() == 0
    process = multiprocessing.get_context("fork").Process(target=set_and_read_it)
    process.start()
    process.join()
    assert process.exitcode == signal.SIGKILL


def test_set_loader_patience():
    """DataLoader reads it when it waits for its processes at the end, and when it polls them."""
    try:
        internals.set_loader_patience(0.1)
        assert torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL == 0.1
        assert "MP_STATUS_CHECK_INTERVAL" in inspect.getsource(torch.utils.data.dataloader)
    finally:
        internals.set_loader_patience()
    assert internals.LOADER_PATIENCE == torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL == 5


def lost_batches_are_reported(number):
    internals.report_lost_batches()


@pytest.mark.skipif(sys.platform == "win32", reason="processes are not forked there")
def test_report_lost_batches():
    class Unsendable(torch.utils.data.Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return lambda: index

    options = {"worker_init_fn": lost_batches_are_reported, "multiprocessing_context": "fork", "timeout": 60}
    with pytest.raises(RuntimeError, match="cannot hand over a batch"):
        next(iter(DataLoader(Unsendable(), num_workers=1, collate_fn=list, **options)))
