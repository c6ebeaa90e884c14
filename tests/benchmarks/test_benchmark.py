import pytest
import torch

from benchmarks.loops import LectureNet, bare_fit
from benchmarks.main import main
from benchmarks.table import Row, line
from engine.config.config import read_command_line, resolve
from engine.config.yaml_files import Source
from engine.errors import UsageError
from engine.resume.checkpoint_file import read_checkpoint
from engine.training.assemble import build, trainer_arguments
from tests.runs import run
from tests.tiny import QUICK


def test_the_lectures_network_has_its_weights():
    assert sum(p.numel() for p in LectureNet().parameters()) == 21_840


@pytest.mark.parametrize(
    "flags", [["--precision", "32-true"], ["--precision", "bf16-mixed", "--limit_train_batches", "7"]]
)
def test_the_bare_loop_does_a_runs_arithmetic_to_the_last_bit(workplace, flags):
    arguments = [*QUICK, "--max_epochs", "3", "--seed", "4", *flags]
    run(*arguments, "--name", "a")
    config, _ = resolve([Source("command line", read_command_line(arguments).flags)])
    trainer_arguments(config)
    torch.manual_seed(4)
    data, task = build(config)
    data.setup("fit")
    bare_fit(data, task, config)
    saved = read_checkpoint("checkpoints/a/last.ckpt")["state_dict"]
    for name, value in task.state_dict().items():
        assert torch.equal(value, saved[name]), name


def test_a_ratio_is_of_medians_and_says_how_many_times_faster_we_are():
    seconds = Row("x", "s", [1.0, 2.0, 9.0], [8.0, 10.0, 11.0], faster=True, goal=5)
    assert seconds.ratio == 5 and seconds.reached
    rates = Row("x", "images/s", [10.0], [5.0], faster=True, goal=3)
    assert rates.ratio == 2 and rates.reached is False and "MISSED" in line(rates)
    share = Row("x", "MiB", [12.0], [10.0], goal=1.2)
    assert share.ratio == 1.2 and share.reached and "MISSED" not in line(share)
    assert Row("x", "s", [], [5.0], faster=True, goal=3).reached is False  # none of ours came so far
    assert Row("x", "s", [5.0], [], faster=True, goal=3).reached is None
    alone = Row("x", "s", [9.0, 11.0, 12.0], goal=10)
    long = Row("x" * 35, "images/s", [33_156.0, 36_486.0], [860_658.0, 968_288.0], faster=True, goal=50)
    assert max(map(len, line(long).splitlines())) <= 79 and "33.2k-36.5k    861k-968k" in line(long)
    assert alone.ratio is None and alone.reached is False and "9.00-12.00" in line(alone)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "dta"], "there is no such part; choose from data"),
        (["--repeats", "0"], "--repeats is 1 or more, got 0"),
        (["--output", "nowhere/x.json"], "its folder does not exist"),
        (["--output", "."], "expected a name that ends in .json"),
        (["--output", "x" * 300 + ".json"], "File name too long"),
        (["--quik"], "unrecognized arguments: --quik"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(workplace, arguments, message):
    with pytest.raises(UsageError, match=message):
        main(arguments)
