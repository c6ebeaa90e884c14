"""Two processes on the CPU, for every task: they learn together, say nothing needless, and go on exactly."""

import json

import pytest

from engine.config.defaults import read_defaults
from project.tasks import TASKS
from tests.tiny import run_script

DATA = {
    "mnist": ["--data.val_size", 60, "--data.batch_size", 15],
    "digit_pairs": ["--data.val_size", 60, "--data.batch_size", 15],
    "digits": ["--data.num_train", 32, "--data.num_val", 8, "--data.num_test", 8, "--data.val_digits", 60],
}
EXTRA = {"translate": ["--task.adversary", "hinge", "--gradient_clip_val", 0.5, "--optim.ema", 0.9]}
COMMON = ["--wandb", "disabled", "--precision", "32-true", "--accelerator", "cpu", "--optim.schedule", "constant"]


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_run_of_two_processes_goes_on_exactly(workplace, task):
    """The cut is a limit on steps within the second epoch, lifted when the run goes on."""
    data = DATA[read_defaults(TASKS[task]).values["data.name"]]
    if task in ("segment", "detect", "regress", "multilabel"):
        data = [*data, "--data.batch_size", 4]
    options = ["--task", task, *data, *EXTRA.get(task, []), *COMMON, "--devices", 2, "--strategy", "ddp"]
    done = run_script("train", *options, "--name", "whole", "--max_epochs", 2, cwd=workplace)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    summary = json.loads((workplace / "checkpoints/whole/summary.json").read_text())
    steps = summary["global_step"]
    assert summary["measured"] == {split: summary["images"][split] for split in ("val", "test")}  # by both processes
    done = run_script("train", *options, "--name", "cut", "--max_steps", steps - 2, cwd=workplace)
    assert done.returncode == 0, done.stderr
    more = ["--max_steps", -1, "--max_epochs", 2]
    done = run_script("train", "--ckpt_path", "checkpoints/cut/last.ckpt", *more, cwd=workplace)
    assert done.returncode == 0, done.stderr
    files = [f"checkpoints/{name}/last.ckpt" for name in ("whole", "cut")]
    done = run_script("compare", *files, cwd=workplace)
    assert done.stdout.startswith("identical"), done.stdout
