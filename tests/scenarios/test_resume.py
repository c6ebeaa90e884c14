"""A run that was cut and resumed is, to the last bit, the run that was not."""

import signal

import pytest

from engine.contract.optim import rate_factor
from engine.errors import Stopped
from engine.resume.checkpoint_file import read_checkpoint
from engine.resume.checkpoints import RunCheckpoints
from engine.resume.compare import differences
from scripts import train
from tests.runs import cut_after, read_metrics, read_summary, run
from tests.tiny import TASK

EPOCHS, BATCHES = 3, 10
CHANCE = {  # of each task's own
    "classify": ["--head.dropout", "0.3", "--data.rotate", "10"],
    "segment": ["--data.zoom", "0.2"],
    "detect": ["--data.zoom", "0.2"],
    "regress": ["--data.zoom", "0.2", "--head.dropout", "0.3"],
    "multilabel": ["--data.zoom", "0.2", "--head.dropout", "0.3"],
    "translate": ["--data.noise", "0.2"],
}
SETUPS = {
    "plain": [],
    "everything": [
        *("--optim.ema", "0.9", "--backbone.dropout", "0.2", *CHANCE[TASK]),
        *("--gradient_clip_val", "1.0", "--log_every_n_steps", "3"),
    ],
    "accumulate": ["--accumulate_grad_batches", "3", "--optim.schedule", "cosine"],
    "workers": ["--data.num_workers", "2"],
    "often-validated": ["--val_check_interval", "0.3", "--optim.ema", "0.9"],
    "seldom-validated": ["--check_val_every_n_epoch", "2"],
    "not-validated": ["--limit_val_batches", "0"],
    "adversary": [
        *("--task", "translate", "--task.adversary", "least_squares", "--optim.beta1", "0.5", "--optim.ema", "0.9"),
        *("--backbone.dropout", "0.2", "--gradient_clip_val", "0.5", "--accumulate_grad_batches", "2"),
        *("--backbone.widths", "4,8", "--task.discriminator_widths", "8,8"),
    ],
    "limited": ["--limit_train_batches", "7", "--optim", "sgd"],
}


def slow(value):
    """A value that is tried under the marker `slow` only."""
    return pytest.param(value, marks=pytest.mark.slow)


@pytest.fixture(autouse=True)
def _(workplace):
    pass


def cut_and_resume(after, *options):
    """Run 'cut', ended right after the save number `after`, counting steps and ends of epochs, and resume it."""
    with cut_after(after):
        run("--name", "cut", "--max_epochs", EPOCHS, "--save_every_steps", 1, *options)
    assert read_summary("cut")["status"] == "failed"
    train.main(["--ckpt_path", "checkpoints/cut/last.ckpt"])


def assert_equal_runs():
    for file in ("last", "best"):
        assert differences(*(read_checkpoint(f"checkpoints/{name}/{file}.ckpt") for name in ("whole", "cut"))) == []
    assert read_metrics("whole") == read_metrics("cut")
    whole, cut = (read_summary(name) for name in ("whole", "cut"))
    assert whole["metrics"] == cut["metrics"] and whole["best"]["epoch"] == cut["best"]["epoch"]
    assert cut["status"] == "finished"


# A save after each of ten steps and one at the epoch's end: 1 is the first step, 10 an epoch's last step, 11 its end.
@pytest.mark.parametrize("after", [1, slow(5), slow(10), 11, slow(12), slow(21), slow(22), slow(28), 32])
@pytest.mark.parametrize("setup", [slow("plain"), "everything"])
def test_cut_anywhere(setup, after):
    run("--name", "whole", "--max_epochs", EPOCHS, "--save_every_steps", 1, *SETUPS[setup])
    cut_and_resume(after, *SETUPS[setup])
    assert_equal_runs()


@pytest.mark.parametrize("after", [slow(2), 4, slow(5), slow(7), slow(9)])
@pytest.mark.parametrize("setup", [name for name in SETUPS if name not in ("plain", "everything")])
def test_cut_under_every_setup(setup, after):
    run("--name", "whole", "--max_epochs", EPOCHS, "--save_every_steps", 1, *SETUPS[setup])
    cut_and_resume(after, *SETUPS[setup])
    assert_equal_runs()


@pytest.mark.parametrize("batch", [slow(0), 1])
@pytest.mark.parametrize("setup", [slow("plain"), "everything", slow("often-validated")])
def test_stopped_while_validating(monkeypatch, setup, batch):
    """The second validation is cut by a signal at its first or second batch; the weights may be averaged ones then."""
    run("--name", "whole", "--max_epochs", EPOCHS, *SETUPS[setup])
    begun = []
    decide = RunCheckpoints.on_validation_batch_end

    def signalled(self, trainer, module, outputs, data, batch_idx, *rest):
        begun.append(batch_idx)
        if not trainer.sanity_checking and begun.count(0) == 3 and batch_idx == batch:
            self.signals.received = signal.SIGTERM
        decide(self, trainer, module, outputs, data, batch_idx, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(RunCheckpoints, "on_validation_batch_end", signalled)
        with pytest.raises(Stopped) as stop:
            run("--name", "cut", "--max_epochs", EPOCHS, *SETUPS[setup])
    assert stop.value.status == 143 and read_summary("cut")["status"] == "stopped"
    train.main(["--ckpt_path", "last", "--name", "cut"])
    assert_equal_runs()


def test_how_often_it_is_saved_changes_nothing_else():
    run("--name", "whole", "--max_epochs", EPOCHS)
    run("--name", "cut", "--max_epochs", EPOCHS, "--save_every_steps", 2)
    assert_equal_runs()


CHANGED = "note: from here on the run differs from an uninterrupted one: "


def rates(name):
    return [float(line["lr"]) for line in read_metrics(name) if line["lr"]]


def test_a_run_that_goes_on_otherwise_says_so_and_keeps_its_new_schedule(capsys):
    """Cut after 14 of 30 steps; the 6 batches left and the last epoch are then 3 and 5 steps; cut again after 2."""
    common = ["--log_every_n_steps", 1, "--save_every_steps", 1, "--optim.schedule", "cosine", "--optim.lr", 1]
    with cut_after(15):
        run("--name", "cut", "--max_epochs", EPOCHS, *common)
    changed = ["--ckpt_path", "checkpoints/cut/last.ckpt", "--accumulate_grad_batches", "2"]
    train.main([*changed, "--name", "whole"])
    with cut_after(2):
        train.main(changed)
    assert capsys.readouterr().out.count(f"{CHANGED}accumulate_grad_batches is 2 and was 1\n") == 2
    train.main(["--ckpt_path", "checkpoints/cut/last.ckpt"])
    assert CHANGED not in capsys.readouterr().out
    assert differences(*(read_checkpoint(f"checkpoints/{name}/last.ckpt") for name in ("whole", "cut"))) == []
    assert rates("whole") == rates("cut")[-9:]
    shares = [14 / 30 + 16 / 30 * i / 8 for i in range(9)]
    assert rates("whole")[-9:] == pytest.approx([rate_factor("cosine", 0, share) for share in shares], abs=1e-9)


def test_a_finished_run_given_more_epochs_learns_on(capsys):
    run("--name", "longer", "--max_epochs", 1, "--log_every_n_steps", 1, "--optim.lr", 1)
    train.main(["--ckpt_path", "checkpoints/longer/last.ckpt", "--max_epochs", "2"])
    assert f"{CHANGED}max_epochs is 2 and was 1\n" in capsys.readouterr().out
    expected = [rate_factor("one_cycle", 0.25, 0.5 + i / 20) for i in range(1, 11)]
    assert rates("longer")[10:] == pytest.approx(expected, abs=1e-9)
