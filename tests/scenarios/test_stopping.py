"""When a run ends by itself, which weights it keeps, and which metric tells."""

from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.inference import evaluate
from engine.resume.checkpoint_file import read_checkpoint
from tests.runs import cut_after, read_metrics, read_summary, run, same

OF_CLASSIFY = pytest.mark.task("classify")
STANDS_STILL = ("--optim.lr", 1e-12, "--max_epochs", 9)


@pytest.fixture(autouse=True)
def _(workplace):
    pass


def weights(path):
    return read_checkpoint(path)["state_dict"]


@OF_CLASSIFY
def test_a_run_ends_after_so_many_validations_without_a_better_one_and_can_be_given_more(capsys):
    run("--name", "a", "--early_stop", 2, *STANDS_STILL)
    assert (read_summary("a")["epochs"], read_summary("a")["status"]) == (3, "finished")
    assert read_summary("a")["best"]["epoch"] == 1
    capsys.readouterr()
    run("--ckpt_path", "checkpoints/a/last.ckpt")
    said = capsys.readouterr().out
    assert "run a is finished after 3 epochs" in said and "give a larger --early_stop to train longer" in said
    run("--ckpt_path", "checkpoints/a/last.ckpt", "--early_stop", 4)
    assert read_summary("a")["epochs"] == 5


def test_a_better_one_starts_the_count_anew():
    run("--name", "a", "--early_stop", 2, "--max_epochs", 4, "--monitor", "val/loss", "--optim.lr", 0.001)
    losses = [float(line["val/loss"]) for line in read_metrics("a") if line["val/loss"]]
    assert losses == sorted(losses, reverse=True) and read_summary("a")["epochs"] == 4


@OF_CLASSIFY
def test_a_run_that_was_cut_ends_at_the_same_step():
    options = ("--early_stop", 3, *STANDS_STILL, "--val_check_interval", 0.5, "--optim.schedule", "constant")
    run("--name", "whole", *options)
    run("--name", "cut", *options, "--max_steps", 7)
    run("--ckpt_path", "checkpoints/cut/last.ckpt", "--max_steps", -1)
    assert read_summary("whole")["epochs"] == read_summary("cut")["epochs"] == 2
    whole, cut = (read_checkpoint(f"checkpoints/{name}/last.ckpt") for name in ("whole", "cut"))
    assert whole["callbacks"]["RunCheckpoints"] == cut["callbacks"]["RunCheckpoints"]
    assert same(whole, cut)


def test_epochs_are_kept_and_each_can_be_gone_on_from():
    run("--name", "a", "--max_epochs", 5, "--keep_every", 2)
    assert sorted(path.name for path in Path("checkpoints/a").glob("*.ckpt")) == [
        *("best.ckpt", "epoch-002.ckpt", "epoch-004.ckpt", "last.ckpt", "previous.ckpt")
    ]
    whole, best = (read_checkpoint(f"checkpoints/a/{name}.ckpt") for name in ("last", "best"))
    run("--ckpt_path", "checkpoints/a/epoch-002.ckpt")
    assert same(whole, read_checkpoint("checkpoints/a/last.ckpt"))
    assert same(best, read_checkpoint("checkpoints/a/best.ckpt"))


def test_the_best_starts_anew_from_an_epoch_before_it():
    run("--name", "a", "--max_epochs", 3, "--keep_every", 1, "--monitor", "val/loss", "--optim.lr", 0.001)
    assert read_summary("a")["best"]["epoch"] == 3
    run("--ckpt_path", "checkpoints/a/epoch-001.ckpt", "--max_epochs", 2)
    assert read_summary("a")["best"]["epoch"] == 2
    assert read_checkpoint("checkpoints/a/best.ckpt")["callbacks"]["RunCheckpoints"]["best_epoch"] == 1


def test_another_metric_tells_the_best():
    run("--name", "a", "--max_epochs", 3, "--monitor", "val/loss")
    losses = [float(line["val/loss"]) for line in read_metrics("a") if line["val/loss"]]
    best = read_summary("a")["best"]
    assert (best["metric"], best["value"]) == ("val/loss", pytest.approx(min(losses)))


@OF_CLASSIFY
@pytest.mark.parametrize("metric", ["f1", "f1/3", "ece"])
def test_a_metric_of_the_test_tells_the_best_and_changes_nothing_else(metric):
    run("--name", "a", "--max_epochs", 3, "--monitor", f"val/{metric}", "--optim.lr", 0.002)
    run("--name", "plain", "--max_epochs", 3, "--optim.lr", 0.002)
    values = [float(line[f"val/{metric}"]) for line in read_metrics("a") if line["val/loss"]]
    best = read_summary("a")["best"]
    choose = min if metric == "ece" else max
    assert len(values) == 3 and best["value"] == pytest.approx(choose(values))
    assert best["epoch"] == values.index(choose(values)) + 1
    assert not [name for name in read_metrics("plain")[0] if metric in name and name.startswith("val")]
    for mine, other in zip(read_metrics("a"), read_metrics("plain"), strict=True):
        names = [name for name in other if name.startswith(("train/", "val/"))]
        assert names and [mine[name] for name in names] == [other[name] for name in names]
    evaluate.main(["checkpoints/a/best.ckpt", "--split", "val"])


@OF_CLASSIFY
def test_a_metric_of_the_test_is_resumed_bit_for_bit():
    options = ("--monitor", "val/f1", "--max_epochs", 3)
    run("--name", "whole", *options)
    with cut_after(2):
        run("--name", "cut", *options, "--save_every_steps", 5)
    run("--ckpt_path", "checkpoints/cut/last.ckpt")
    assert same(*(read_checkpoint(f"checkpoints/{name}/last.ckpt") for name in ("whole", "cut")))


@pytest.mark.task("classify")
def test_a_rehearsal_takes_the_metric_of_a_class_that_its_few_images_may_lack():
    run("--monitor", "val/f1/9", "--fast_dev_run")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        pytest.param(
            ["--monitor", "val/los"],
            "val/los is not a metric of this run; did you mean val/loss.; there are val/acc, val/loss, val/f1, val/pre",
            marks=OF_CLASSIFY,
        ),
        (["--monitor", "val/los", "--fast_dev_run"], "val/los is not a metric of this run; did you mean val/loss"),
        pytest.param(
            ["--monitor", "val/f1/10"],
            "val/f1/10 is not a metric of this run; did you mean val/f1/1",
            marks=OF_CLASSIFY,
        ),
        (["--monitor", "val/f1/10", "--fast_dev_run"], "val/f1/10 is not a metric of this run"),
        (["--monitor", "loss"], "--monitor loss: expected a metric of the validation, such as val/loss"),
        (["--early_stop", "0"], "--early_stop is above 0, got 0"),
        (["--keep_every", "-1"], "--keep_every is above 0, got -1"),
        (["--task", "translate", "--task.adversary", "hinge", "--early_stop", "2"], "; give --monitor METRIC as well"),
    ],
)
def test_what_cannot_be_meant_is_refused(flags, message):
    with pytest.raises(Exception, match=message):
        run("--name", "a", *flags)
    assert not Path("checkpoints/a").exists()


@OF_CLASSIFY
def test_a_run_that_stopped_early_and_was_cut_before_its_test_trains_no_more():
    run("--name", "a", "--early_stop", 1, *STANDS_STILL)
    summary = Path("checkpoints/a/summary.json")
    summary.write_text(summary.read_text().replace('"finished"', '"stopped"'))
    before = read_checkpoint("checkpoints/a/last.ckpt")
    run("--ckpt_path", "checkpoints/a/last.ckpt")
    assert same(before, read_checkpoint("checkpoints/a/last.ckpt"))
    assert (read_summary("a")["status"], read_summary("a")["epochs"]) == ("finished", 2)


@OF_CLASSIFY
def test_a_run_that_stopped_early_goes_on_by_another_metric():
    run("--name", "a", "--early_stop", 1, *STANDS_STILL)
    run("--ckpt_path", "checkpoints/a/last.ckpt", "--monitor", "val/loss", "--max_epochs", 3)
    assert read_summary("a")["epochs"] == 3


@pytest.mark.parametrize("flags", [pytest.param(("--data.val_size", 0), marks=OF_CLASSIFY), ("--limit_val_batches", 0)])
def test_without_a_validation_there_is_nothing_to_go_by(flags):
    with pytest.raises(UsageError, match="--monitor and --early_stop: there is no validation to go by"):
        run("--name", "a", "--early_stop", 1, "--monitor", "val/loss", *flags)
