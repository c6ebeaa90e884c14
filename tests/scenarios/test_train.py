"""Whole runs on the stand-in for MNIST, in this process: what is written, resumed, refused."""

import shutil
from pathlib import Path

import pytest
import torch

from engine.errors import RunError, UsageError
from engine.inference import evaluate
from engine.resume import guard
from engine.resume.checkpoint_file import read_checkpoint
from engine.resume.compare import differences
from engine.resume.guard import Question
from project import LitClassifier, LitTranslator, load_task
from scripts import train
from tests.faults.bad_input import BAD_INPUT, last_error, refused, write_bad_files
from tests.runs import read_metrics, read_summary, run, same

EPOCHS = 4
SUMMARY = """name task data backbone parameters status epochs global_step seconds images_per_second peak_memory_mb
    metrics best seed command git versions hardware"""


@pytest.fixture(autouse=True)
def _(workplace):
    pass


@pytest.mark.task("classify")
def test_a_run_learns_and_leaves_everything_in_its_folder(workplace, capsys):
    run("--name", "a", "--max_epochs", EPOCHS)
    summary = read_summary("a")
    assert summary["metrics"]["test/acc"] > 0.9 and summary["status"] == "finished"
    assert set(SUMMARY.split()) <= summary.keys()
    assert summary["epochs"] == EPOCHS and summary["global_step"] == EPOCHS * 10
    assert summary["seconds"].keys() == {"setup", "fit", "test", "total"}
    assert summary["best"]["metric"] == "val/acc" and summary["best"]["path"] == "checkpoints/a/best.ckpt"
    files = {path.name for path in (workplace / "checkpoints" / "a").iterdir()}
    assert {"best.ckpt", "last.ckpt", "metrics.csv", "summary.json", "config.yaml"} <= files
    rows = read_metrics("a")
    assert [float(row["val/acc"]) for row in rows if row["val/acc"]][-1] == pytest.approx(summary["metrics"]["val/acc"])
    assert sum(bool(row["train/loss"]) for row in rows) == EPOCHS
    out = capsys.readouterr().out
    assert out.count("epoch ") >= EPOCHS and "test/acc" in out and "checkpoints/a" in out


@pytest.mark.task("classify")
def test_test_images_are_used_for_testing_alone(monkeypatch):
    from project.data.mnist import MNISTDataModule

    asked = []
    for stage in ("train", "val", "test"):
        name = f"{stage}_dataloader"
        monkeypatch.setattr(MNISTDataModule, name, _noting(asked, stage, getattr(MNISTDataModule, name)))
    run("--name", "a", "--max_epochs", 1)
    assert asked.count("test") == 1 and asked[-1] == "test"


def _noting(asked, stage, method):
    def noted(self):
        asked.append(stage)
        return method(self)

    return noted


def test_the_checkpoint_stands_alone(workplace):
    run("--name", "a", "--max_epochs", 1, "--backbone", "inception")
    path = workplace / "checkpoints" / "a" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    assert content["task"] == "classify"
    task = LitClassifier.load_from_checkpoint(path)
    assert type(load_task(path)) is LitClassifier
    assert task.hparams["class_names"] == list("0123456789") and task.hparams["mean"] == [0.1307]
    classes, probabilities = task.predict(task.input.prepare(torch.zeros(2, 1, 28, 28, dtype=torch.uint8)))
    assert classes.shape == (2,) and probabilities.shape == (2, 10)


def test_a_compiled_network_leaves_the_same_checkpoint(monkeypatch):
    compiled = []

    def stand_in(function, **options):  # the compiler itself takes a minute: see the slow test
        compiled.append(function)
        return function

    run("--name", "a", "--max_epochs", 1, "--optim.ema", 0.9)
    monkeypatch.setattr(torch, "compile", stand_in)
    run("--name", "b", "--max_epochs", 1, "--optim.ema", 0.9, "--compile")
    assert len(compiled) == 2
    assert same(read_checkpoint("checkpoints/a/last.ckpt"), read_checkpoint("checkpoints/b/last.ckpt"))
    train.main(["--ckpt_path", "last", "--max_epochs", "2"])
    assert len(compiled) == 4


def test_a_network_that_cannot_be_compiled_is_one_line_with_the_cause(monkeypatch):
    cause = RuntimeError("no compiler here\nmore of it")
    error = torch._dynamo.exc.BackendCompilerFailed(print, cause, None)

    def broken(function, **options):
        def call(*arguments):
            raise error

        return call

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(RunError, match=r"--compile failed \(RuntimeError: no compiler here\): it needs a C"):
        run("--name", "a", "--compile")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on a CPU")
@pytest.mark.filterwarnings("default")
def test_a_run_compiled_for_real_can_be_resumed_and_used():
    small = ["--backbone.widths", "4", "--head.grid", "1", "--head.hidden", "0", "--compile"]
    small += ["--optim.schedule", "constant"]  # another length would otherwise be another course
    run("--name", "a", "--max_epochs", 1, *small)
    train.main(["--ckpt_path", "last", "--max_epochs", "2"])
    run("--name", "b", "--max_epochs", 2, *small)
    assert same(read_checkpoint("checkpoints/a/last.ckpt"), read_checkpoint("checkpoints/b/last.ckpt"))
    assert not any("_orig_mod" in name for name in read_checkpoint("checkpoints/a/last.ckpt")["state_dict"])
    evaluate.main(["checkpoints/a/best.ckpt"])


def test_its_own_configuration_reproduces_a_run():
    run("--name", "a", "--max_epochs", 2, "--optim.lr", 0.003)
    train.main(["--config", "checkpoints/a/config.yaml", "--name", "b"])
    assert same(read_checkpoint("checkpoints/a/last.ckpt"), read_checkpoint("checkpoints/b/last.ckpt"))


@pytest.mark.task("classify")
def test_a_finished_run_says_so_and_stops_and_goes_on_when_told_to(capsys):
    run("--name", "a", "--max_epochs", 2)
    capsys.readouterr()
    train.main(["--ckpt_path", "last"])
    assert "run a is finished after 2 epochs" in capsys.readouterr().out
    train.main(["--ckpt_path", "checkpoints/a/last.ckpt", "--max_epochs", "4"])
    summary = read_summary("a")
    assert summary["epochs"] == 4 and summary["global_step"] == 40
    assert [row["epoch"] for row in read_metrics("a") if row["val/acc"]] == ["0", "1", "2", "3"]


def test_resuming_under_another_name_takes_the_best_along(workplace):
    run("--name", "a", "--max_epochs", 2)
    best = read_summary("a")["best"]
    (workplace / "checkpoints" / "a").rename(workplace / "elsewhere")
    train.main(["--ckpt_path", "elsewhere/last.ckpt", "--name", "b", "--max_epochs", "3", "--optim.lr", "1e-9"])
    assert (workplace / "checkpoints" / "b" / "best.ckpt").exists()
    assert read_summary("b")["best"]["value"] >= best["value"]
    assert (workplace / "elsewhere" / "best.ckpt").exists()


@pytest.mark.task("classify")
def test_init_from_takes_what_matches_and_says_what_does_not(capsys):
    run("--name", "a", "--max_epochs", 1)
    run("--name", "b", "--max_epochs", 1, "--init_from", "checkpoints/a/best.ckpt", "--head.hidden", 32)
    out = capsys.readouterr().out
    assert "init      13 of 16 weights from checkpoints/a/best.ckpt" in out
    assert "init      different shape: head.layers.0.weight, head.layers.0.bias, head.layers.2.weight" in out
    with pytest.raises(UsageError, match="no weight of .* has a name and shape"):
        run("--name", "c", "--init_from", "checkpoints/a/best.ckpt", "--backbone", "mlp")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--backbone", "mlp"],
            "run a has backbone cnn, not mlp: resume it as it is, or start a new run",
        ),
        (["--optim", "sgd"], "run a has optim adamw, not sgd"),
        (["--backbone.widths", "8,16"], r"run a has other weights \(backbone.blocks.0.0.weight"),
    ],
)
def test_a_resume_with_another_network_or_optimiser_is_refused_and_nothing_is_touched(workplace, flags, message):
    run("--name", "a", "--max_epochs", 1)
    before = {p.name: p.stat().st_mtime_ns for p in (workplace / "checkpoints" / "a").iterdir()}
    with pytest.raises(UsageError, match=message):
        train.main(["--ckpt_path", "last", "--max_epochs", "2", *flags])
    assert before == {p.name: p.stat().st_mtime_ns for p in (workplace / "checkpoints" / "a").iterdir()}
    with pytest.raises(UsageError, match=r"best.ckpt holds weights, not the state of a run; resume from a last.ckpt"):
        train.main(["--ckpt_path", "checkpoints/a/best.ckpt", "--max_epochs", "2"])


def test_flags_given_on_a_resume_reach_the_optimiser():
    run("--name", "a", "--max_epochs", 1, "--optim.schedule", "constant", "--log_every_n_steps", 1)
    flags = ["--max_epochs", "2", "--optim.lr", "1e-5", "--optim.weight_decay", "0.5", "--optim.beta1", "0.5"]
    train.main(["--ckpt_path", "last", *flags])
    assert {row["lr"] for row in read_metrics("a") if row["epoch"] == "1" and row["lr"]} == {"1e-05"}
    group = read_checkpoint("checkpoints/a/last.ckpt")["optimizer_states"][0]["param_groups"][0]
    assert group["weight_decay"] == 0.5 and tuple(group["betas"]) == (0.5, 0.999)


def test_going_on_within_an_epoch_with_other_batches_is_refused():
    run("--name", "a", "--max_epochs", -1, "--max_steps", 4, "--optim.schedule", "constant")
    with pytest.raises(UsageError, match=r"after 4 of an epoch's 10 batches, and an epoch now has 5"):
        train.main(["--ckpt_path", "last", "--max_steps", "9", "--data.batch_size", "60"])
    assert read_summary("a")["status"] == "finished"


def test_a_run_limited_to_steps_can_be_given_more_and_is_then_the_longer_run():
    constant = ["--max_epochs", -1, "--optim.schedule", "constant"]
    run("--name", "whole", *constant, "--max_steps", 27)
    run("--name", "cut", *constant, "--max_steps", 14)
    train.main(["--ckpt_path", "last", "--name", "cut", "--max_steps", "27"])
    whole, cut = (read_checkpoint(f"checkpoints/{name}/last.ckpt") for name in ("whole", "cut"))
    assert differences(whole["state_dict"], cut["state_dict"]) == []
    assert differences(whole["optimizer_states"], cut["optimizer_states"]) == []


@pytest.mark.task("classify")
@pytest.mark.parametrize("flags", [["--max_steps", 3], ["--check_val_every_n_epoch", 2, "--max_epochs", 1]])
def test_a_run_that_ends_before_its_first_validation_still_has_weights_to_test(flags):
    run("--name", "a", *flags)
    assert "test/acc" in read_summary("a")["metrics"]


@pytest.mark.task("classify")
def test_validation_numbers_are_recorded_only_where_they_were_measured():
    run("--name", "a", "--max_epochs", 3, "--check_val_every_n_epoch", 2)
    assert [bool(row["val/acc"]) for row in read_metrics("a") if row["train/loss"]] == [False, True, False]


@pytest.mark.parametrize(
    "precision", ["bf16-mixed", *(pytest.param(name, marks=pytest.mark.slow) for name in ("64-true", "bf16-true"))]
)
def test_other_precisions_train(precision):
    run("--name", "a", "--max_epochs", 1, "--precision", precision)
    evaluate.main(["checkpoints/a/best.ckpt"])


def test_a_loss_that_is_not_finite_ends_the_run_before_it_reaches_the_weights():
    run("--name", "a", "--max_epochs", 2)
    kept = read_checkpoint("checkpoints/a/last.ckpt"), read_checkpoint("checkpoints/a/best.ckpt")
    flags = ["--ckpt_path", "last", "--max_epochs", "6", "--optim.lr", "1e30", "--precision", "32-true"]
    with pytest.raises(RunError, match=r"step \d+ has loss nan .*--gradient_clip_val") as caught:
        train.main(flags)
    assert caught.value.status == 1 and read_summary("a")["status"] == "failed"
    files = (read_checkpoint(f"checkpoints/a/{name}.ckpt") for name in ("last", "best"))
    assert all(same(before, after) for before, after in zip(kept, files, strict=True))


class Late:
    """An answer that arrives later, as a GPU's does."""

    def __init__(self):
        self.waited = False

    def synchronize(self):
        self.waited = True


def test_on_a_gpu_a_step_is_checked_during_the_next_one_and_before_anything_is_saved(monkeypatch):
    asked = []

    def ask(step, numbers):
        asked.append(Question(step, numbers.clone(), Late()))
        return asked[-1]

    monkeypatch.setattr(guard, "ask", ask)
    run("--name", "a", "--max_epochs", 2)
    kept = read_checkpoint("checkpoints/a/last.ckpt"), read_checkpoint("checkpoints/a/best.ckpt")
    assert [question.step for question in asked] == list(range(1, 21))
    assert all(question.arrived.waited for question in asked)
    flags = ["--ckpt_path", "last", "--max_epochs", "6", "--precision", "32-true"]
    with pytest.raises(RunError, match=r"step 2\d has loss .* and gradient norm"):
        train.main([*flags, "--optim.lr", "1e30"])
    # The run's very last step is bad: no step follows it, but the end of the epoch would save it.
    monkeypatch.setattr(guard, "ask", lambda step, numbers: ask(step, numbers / (step != 30)))
    with pytest.raises(RunError, match=r"step 30 has loss (inf|nan)"):
        train.main(["--ckpt_path", "last", "--max_epochs", "3"])
    files = (read_checkpoint(f"checkpoints/a/{name}.ckpt") for name in ("last", "best"))
    assert all(same(before, after) for before, after in zip(kept, files, strict=True))


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before_and_says_so(workplace, capsys):
    run("--name", "whole", "--max_epochs", 3)
    run("--name", "a", "--max_epochs", 2)
    path = workplace / "checkpoints" / "a" / "last.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    train.main(["--ckpt_path", str(path), "--max_epochs", "3"])
    assert "last.ckpt is damaged" in (err := capsys.readouterr().err) and "resuming from" in err
    (workplace / "checkpoints" / "a" / "previous.ckpt").write_bytes(b"")
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"last.ckpt is damaged.*previous.ckpt is not a whole checkpoint"):
        train.main(["--ckpt_path", str(path)])


def test_a_taken_name_is_refused_and_nothing_is_touched(workplace):
    run("--name", "a", "--max_epochs", 1)
    before = {p.name: p.stat().st_mtime_ns for p in (workplace / "checkpoints" / "a").iterdir()}
    with pytest.raises(UsageError, match=r"--name a is taken: .*resume it with --ckpt_path"):
        run("--name", "a", "--max_epochs", 1)
    assert before == {p.name: p.stat().st_mtime_ns for p in (workplace / "checkpoints" / "a").iterdir()}


@pytest.mark.parametrize(("arguments", "status", "message"), BAD_INPUT, ids=lambda value: str(value)[:40])
def test_what_cannot_be_meant_is_refused_before_anything_is_written(workplace, arguments, status, message):
    write_bad_files(workplace)
    assert refused(arguments) == (status, True, True), last_error()
    assert message in last_error()
    assert not (workplace / "checkpoints").exists() and not (workplace / "nowhere").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_asked_for_where_there_is_none():
    with pytest.raises(RunError, match="there is no GPU here") as caught:
        run("--accelerator", "gpu")
    assert caught.value.status == 1


def test_a_rehearsal_keeps_nothing(workplace):
    run("--fast_dev_run")
    assert not (workplace / "checkpoints").exists()


@pytest.mark.task("classify")
def test_derived_values_may_be_given_when_they_are_right():
    run("--name", "a", "--max_epochs", 1, "--head.num_outputs", 10, "--data.seed", 0, "--limit_train_batches", 2)
    assert read_summary("a")["global_step"] == 2


@pytest.mark.task("classify")
def test_without_validation_the_newest_weights_are_the_best():
    run("--name", "a", "--max_epochs", 2, "--data.val_size", 0)
    best, last = (read_checkpoint(f"checkpoints/a/{name}.ckpt") for name in ("best", "last"))
    assert same(best["state_dict"], last["state_dict"])
    assert read_summary("a")["best"]["epoch"] == 2


def test_print_config_prints_it_and_stops(workplace, capsys):
    run("--print_config", "--max_epochs", 3)
    assert "max_epochs: 3" in capsys.readouterr().out
    assert not (workplace / "checkpoints").exists()


@pytest.mark.task("classify")
def test_evaluation_repeats_the_runs_numbers_from_the_file_alone(workplace, capsys):
    run("--name", "a", "--max_epochs", 2)
    accuracy = read_summary("a")["metrics"]["test/acc"]
    (workplace / "checkpoints" / "a" / "best.ckpt").rename(workplace / "alone.ckpt")
    (workplace / "data").rename(workplace / "moved")
    capsys.readouterr()
    evaluate.main(["alone.ckpt", "--data.root", "moved"])
    assert f"{100 * accuracy:.2f} %" in capsys.readouterr().out
    with pytest.raises(UsageError, match="evaluate.py takes no --optim.lr"):
        evaluate.main(["alone.ckpt", "--optim.lr", "1"])
    with pytest.raises(UsageError, match="expected one checkpoint, got 0"):
        evaluate.main([])
    with pytest.raises(UsageError, match="Precision 'abc' is invalid"):
        evaluate.main(["alone.ckpt", "--data.root", "moved", "--precision", "abc"])


@pytest.mark.parametrize(("adversary", "kept"), [("none", 2), ("hinge", 3)])
def test_with_an_adversary_the_newest_weights_are_kept(monkeypatch, adversary, kept):
    psnr = iter([3.0, 9.0, 5.0, 1.0])  # of three epochs and the test
    monkeypatch.setattr(LitTranslator, "measured", lambda self: {"psnr": next(psnr)})
    flags = ["--task", "translate", "--task.adversary", adversary, "--num_sanity_val_steps", 0]
    flags += ["--backbone.widths", "4,8", "--task.discriminator_widths", "8,8", "--limit_train_batches", 2]
    run("--name", "a", "--max_epochs", 3, *flags)
    assert read_summary("a")["best"]["epoch"] == kept
    assert read_checkpoint("checkpoints/a/best.ckpt")["epoch"] == kept - 1


@pytest.mark.parametrize("name", ["simple", pytest.param("advanced", marks=pytest.mark.slow)])
def test_a_profile_is_written_to_the_runs_folder(name, capsys):
    run("--name", "a", "--max_epochs", 1, "--profiler", name)
    assert "profile   checkpoints/a/fit-profile.txt" in capsys.readouterr().out
    assert "training_step" in Path("checkpoints/a/fit-profile.txt").read_text()
    with pytest.raises(UsageError, match="--profiler is one of simple, advanced, pytorch, got 'simpel'"):
        run("--name", "b", "--profiler", "simpel")
    assert not Path("checkpoints/b").exists()


@pytest.mark.task("classify")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.batch_size", "1"], "a training batch of one is too small for this network.*--data.batch_size"),
        (["--data.val_size", "357", "--data.batch_size", "2"], "a training batch of one is too small"),  # 2 and 1
        (["--data.batch_size", "1", "--backbone.norm", "none"], None),
        (
            ["--backbone.norm", "instance"],
            r"images \(28 x 28 pixels, grey\) are too small.*--data.image_size",
        ),
        (
            ["--task", "translate", "--task.adversary", "hinge", "--task.discriminator_widths", "4,4,4,4,4"],
            r"images \(28 x 28 pixels, grey\) are too small",
        ),
    ],
)
def test_a_batch_too_small_for_a_normalisation_is_refused_before_anything_is_left(workplace, options, message):
    deep = [] if "--task" in options else ["--backbone.widths", "4,4,4,4,4,4", "--backbone.padding", "same"]
    arguments = [*("--name", "a", "--max_epochs", 1, "--limit_train_batches", 2), *deep, *options]
    if message is None:
        run(*arguments)
        return
    with pytest.raises(UsageError, match=message):
        run(*arguments)
    assert not Path("checkpoints/a").exists()


@pytest.mark.task("classify")
def test_closing_lines_say_how_many_images_were_measured_if_not_all(workplace, capsys):
    limits = ["--limit_test_batches", 2, "--limit_val_batches", 0.5]
    run("--name", "part", "--max_epochs", 1, *limits)
    assert "measured       60 of 90 test images, 30 of 60 validation images\n" in capsys.readouterr().out
    assert read_summary("part")["measured"] == {"val": 30, "test": 60}
    evaluate.main(["checkpoints/part/best.ckpt", "--limit_test_batches", "1"])
    assert "30 of 90 test images\n" in capsys.readouterr().out
    run("--name", "whole", "--max_epochs", 1)
    assert "measured  " not in capsys.readouterr().out
