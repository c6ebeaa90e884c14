"""The report of a run: what it holds for every task, what it says, and that it does no harm."""

import csv
import json
import os
import re
import signal
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
import torch

from engine.contract.errors import UserError
from engine.contract.task import Task
from engine.errors import RunError, Stopped, UsageError
from engine.files.folders import FolderDataModule
from engine.report import main as report
from engine.report import write
from engine.report.collect import Collect
from engine.report.curves import read_curves
from engine.report.training_samples import training_samples
from engine.resume.checkpoint_file import read_checkpoint
from engine.resume.checkpoints import RunCheckpoints
from project.tasks import TASKS, LitClassifier
from scripts import train
from tests.own_data import WRITERS, write_class_folders
from tests.runs import after_each_save, read_metrics, read_summary, run, same
from tests.tiny import TASK, no_report

SMALL = ["--backbone.widths", "4,8,8", "--data.batch_size", 4, "--max_epochs", 2, "--data.num_workers", 0]
SMALL += ["--log_every_n_steps", 1, "--wandb", "disabled", "--data.image_size", 48]


@pytest.fixture(autouse=True)
def _(workplace, reports):
    pass


def own(*flags):
    """Train run 'a' on a person's own data."""
    train.main([str(flag) for flag in (*flags, "--name", "a", *SMALL)])


class Outside(HTMLParser):
    """Notes what a page would load or run, or lead to."""

    def __init__(self, text):
        super().__init__()
        self.found = re.findall(r"@import|url\(", text)
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag in ("script", "link", "iframe", "object", "base"):
            self.found.append(tag)
        for name, value in attrs:
            leads = name in ("src", "srcset", "href", "data", "action") or name.startswith("on")
            if leads and not value.startswith("data:image/png;base64,"):
                self.found.append((tag, name, value))


def page(name):
    with open(f"checkpoints/{name}/report.html", encoding="utf-8") as file:
        return file.read()


def plots(workplace, name):
    return {path.name for path in (workplace / "checkpoints" / name / "plots").iterdir()}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_one_that_loads_nothing(workplace, name):
    task = TASKS[name]
    folder = WRITERS[task.takes](workplace / "own", split=True)
    own("--task", name, "--data", folder)
    text, summary = page("a"), read_summary("a")
    assert Outside(text).found == []
    assert "python scripts/predict.py checkpoints/a/best.ckpt IMAGES" in text
    for metric in (task.best_metric, task.best_metric.replace("val/", "test/"), "test/loss"):
        assert metric in text
    headings = ("Course", "Predictions beside the truth", "Training samples", "Speed and memory")
    for heading in (*headings, "Configuration", "Environment"):
        assert f"<h2>{heading}</h2>" in text
    assert "Too few epochs to judge" in text and "backbone.widths" in text and summary["versions"]["torch"] in text
    drawn = plots(workplace, "a")
    assert {"loss.png", "metric.png", "learning_rate.png", "samples.png", "training.png"} <= drawn
    for file in drawn - {"figures.json"}:
        assert (workplace / "checkpoints" / "a" / "plots" / file).read_bytes().startswith(b"\x89PNG")
    assert '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:' in text
    assert text.count("data:image/png;base64,") == len(drawn - {"figures.json"})
    assert {p.name for p in (workplace / "checkpoints" / "a" / "samples").iterdir()} == {"epoch-1.png", "epoch-2.png"}
    for metric in summary["metrics"]:
        if metric.count("/") > 1:
            assert metric.split("/")[1] in text and f"<td>{metric.split('/', 2)[2]}</td>" in text


@pytest.mark.task("classify")
def test_a_classifiers_shows_what_it_confuses(workplace):
    run("--name", "a", "--max_epochs", 1, "--limit_train_batches", 2)
    text, drawn = page("a"), plots(workplace, "a")
    assert {"confusion.png", "mistakes.png"} <= drawn and '<th class="number">recall</th>' in text
    numbers = json.loads((workplace / "checkpoints" / "a" / "plots" / "figures.json").read_text())
    assert numbers["measured"] == "test images, weights after epoch 1"
    assert sum(row["count"] for row in numbers["classes"]) == 90
    right = sum(row["count"] * row["recall"] for row in numbers["classes"])
    assert right / 90 == pytest.approx(read_summary("a")["metrics"]["test/acc"])
    assert 90 - right >= sum(row["count"] for row in numbers["confused"]) > 0
    probabilities = [row["probability"] for row in numbers["mistakes"]]
    assert probabilities == sorted(probabilities, reverse=True) and 0 < len(probabilities) <= 12
    assert all(row["true"] != row["predicted"] for row in numbers["mistakes"])


@pytest.mark.parametrize("sizes", [[8, 8, 8], [30], [1] * 40, [3], [4, 4]])
def test_samples_are_spread_over_all_images(tmp_path, sizes):
    task = LitClassifier()
    task.pictures = lambda images, targets: {"a": images.to(torch.uint8).expand(-1, 3, 2, 2)}
    collect = Collect(tmp_path, SimpleNamespace(best_epoch=0))
    trainer = SimpleNamespace(num_test_batches=[len(sizes)])
    images = torch.arange(sum(sizes)).view(-1, 1, 1, 1)
    for number, batch in enumerate(images.split(sizes)):
        collect.on_test_batch_end(trainer, task, None, (batch, batch), number)
    collect.on_test_end(trainer, task)
    shown = collect.measurement.samples["a"][:, 0, 0, 0].tolist()
    assert len(set(shown)) == len(shown) == min(8, sum(sizes)) and shown == sorted(shown)
    if sum(sizes) > 8:
        assert shown[0] <= sum(sizes) / 8 and shown[-1] >= sum(sizes) * 7 / 8 - 1


def test_without_test_images_it_shows_the_best_validation(workplace):
    folder = WRITERS[TASK](workplace / "own", num=30)
    best = RunCheckpoints.on_validation_end

    def first_is_best(self, trainer, module):
        if trainer.current_epoch == 0:
            best(self, trainer, module)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunCheckpoints, "on_validation_end", first_is_best)
        own("--data", folder)
    numbers = json.loads((workplace / "checkpoints" / "a" / "plots" / "figures.json").read_text())
    assert numbers["measured"] == "validation images, weights after epoch 1"
    assert "validation images, weights after epoch 1" in page("a")


@pytest.mark.task("classify")
def test_what_a_person_named_is_text_whatever_it_holds(workplace):
    folder = write_class_folders(workplace / "own")
    hostile = "<img src=x onerror=alert(1)>&$x_{$"
    (folder / "red").rename(folder / hostile)
    (folder / "green").rename(folder / "$\\frac$\x1b[31m\u202e")
    own("--data", folder)
    text = page("a")
    assert "$\\frac$?[31m?" in text and not {"\x1b", "\u202e"} & set(text)
    assert "<img src=x" not in text and "&lt;img src=x onerror=alert(1)&gt;&amp;$x_{$" in text
    report.main(["checkpoints/a", "checkpoints/a"])
    assert Outside((workplace / "checkpoints" / "comparison.html").read_text()).found == []


@pytest.mark.task("classify")
def test_drawing_training_samples_changes_no_random_state(tmp_path):
    folder = write_class_folders(tmp_path / "own")
    data = FolderDataModule(str(folder), "classify", image_size=[48], mixup=0.4, erase=0.5)
    data.setup("fit")
    task, before = LitClassifier(class_names=data.class_names), torch.get_rng_state()
    one, other = training_samples(data, task), training_samples(data, task)
    assert torch.equal(one, other) and torch.equal(torch.get_rng_state(), before)


def without_reports(patch):
    patch.setattr(write, "write_report", no_report)
    patch.setattr(Collect, "keep_validated", lambda *rest: None)
    for name in ("on_validation_batch_end", "on_validation_end", "on_test_batch_end", "on_test_end"):
        patch.delattr(Collect, name)


MORE = ["--optim.ema", 0.9, "--backbone.dropout", 0.2, "--data.rotate", 10]


@pytest.mark.parametrize("more", [[], pytest.param(MORE, marks=pytest.mark.task("classify"))])
def test_training_is_the_same_with_and_without(monkeypatch, more):
    run("--name", "a", "--max_epochs", 3, *more)
    with monkeypatch.context() as patch:
        without_reports(patch)
        run("--name", "b", "--max_epochs", 3, *more)
    for file in ("last", "best"):
        assert same(*(read_checkpoint(f"checkpoints/{name}/{file}.ckpt") for name in "ab"))
    assert read_metrics("a") == read_metrics("b") and read_summary("a")["metrics"] == read_summary("b")["metrics"]


def fail(*arguments, **options):
    raise UserError("no such\nluck")


@pytest.mark.parametrize(
    ("owner", "method", "note"),
    [
        ("engine.report.write.figures.write_curves", None, "note: no report (no such luck)"),
        ("engine.report.write.figures.write_training", None, "note: no picture of training samples (no such luck)"),
        (LitClassifier, "pictures", "note: some answers of the network are not shown (no such luck)"),
        (LitClassifier, "confusion", "note: some answers of the network are not shown (no such luck)"),
    ],
)
def test_an_error_in_it_is_one_line_and_the_run_is_none_the_worse(monkeypatch, capsys, owner, method, note):
    if method is None:
        monkeypatch.setattr(owner, fail)
    else:
        monkeypatch.setattr(owner, method, fail)
    run("--name", "a", "--max_epochs", 1)
    out = capsys.readouterr().out
    assert out.count(note) == 1 and read_summary("a")["status"] == "finished" and "use it" in out


def test_a_run_that_fails_or_is_stopped_has_one_of_what_there_is(capsys):
    def after(steps, act):
        return after_each_save(lambda trainer: act(trainer) if trainer.global_step == steps else None)

    with after(20, fail), pytest.raises(RunError):
        run("--name", "a", "--max_epochs", 3)
    assert "This run failed after 20 steps (no such luck): what" in page("a")
    assert "validation images, weights after epoch" in page("a")
    assert "report    checkpoints/a/report.html" in capsys.readouterr().out

    def terminate(trainer):
        trainer.checkpoint_callback.signals.received = signal.SIGTERM

    with after(10, terminate), pytest.raises(Stopped):
        run("--name", "b", "--max_epochs", 3)
    assert "This run was stopped after" in page("b") and "(stopped by SIGTERM)" in page("b")
    assert [read_summary(name)["error"] for name in "ab"] == ["no such luck", "stopped by SIGTERM"]


@pytest.mark.task("classify")
def test_a_resumed_run_has_it_anew_with_the_whole_course(workplace, capsys):
    run("--name", "a", "--max_epochs", 2)
    assert "Too few epochs to judge over- or underfitting: 2 epochs" in page("a")
    train.main(["--ckpt_path", "last", "--max_epochs", "3"])
    assert "Too few epochs to judge over- or underfitting: 3 epochs" in page("a")
    assert "report         checkpoints/a/report.html" in capsys.readouterr().out


def test_a_rehearsal_has_none_and_draws_nothing(monkeypatch, capsys):
    monkeypatch.setattr("engine.report.write.write_report", fail)
    run("--fast_dev_run")
    assert "report" not in capsys.readouterr().out


class LitPlain(LitClassifier):
    """A task of somebody's own, that has nothing for the report."""

    pictures, confusion, worst_mistakes = Task.pictures, Task.confusion, Task.worst_mistakes


def test_a_task_that_shows_nothing_has_one_too(workplace, monkeypatch):
    monkeypatch.setitem(TASKS, "classify", LitPlain)
    run("--name", "a", "--max_epochs", 1)
    assert plots(workplace, "a") == {"loss.png", "metric.png", "training.png", "figures.json"}
    assert "test/acc" in page("a") and "Predictions beside the truth" not in page("a")


def test_it_is_made_again_without_the_data(workplace, capsys):
    run("--name", "a", "--max_epochs", 2)
    text = page("a")
    (workplace / "data").rename(workplace / "moved")
    (workplace / "checkpoints" / "a" / "report.html").unlink()
    (workplace / "checkpoints" / "a" / "plots" / "loss.png").unlink()
    for file in (workplace / "checkpoints" / "a").glob("*.ckpt"):
        file.rename(workplace / file.name)
    report.main(["checkpoints/a"])
    assert capsys.readouterr().out.endswith("written: checkpoints/a/report.html\n")
    again = page("a")
    # All but the line on how to use weights that are no longer there.
    assert [line for line in text.splitlines() if line not in again.splitlines()] == [
        '<p class="soft">Use it:</p>',
        "<pre>python scripts/predict.py checkpoints/a/best.ckpt IMAGES</pre>",
    ]


@pytest.mark.task("classify")
def test_runs_are_compared(workplace, capsys):
    run("--name", "a", "--max_epochs", 2)
    run("--name", "b", "--max_epochs", 1, "--optim.lr", 1e-6)
    report.main(["checkpoints/a", "checkpoints/b"])
    assert "comparison.html" in capsys.readouterr().out
    text = (workplace / "checkpoints" / "comparison.html").read_text()
    assert Outside(text).found == [] and text.count("data:image/png;base64,") == 2
    best = f"<b>{100 * read_summary('a')['metrics']['test/acc']:.2f} %</b>"
    assert best in text
    differing = re.findall(r'<td class="key">(.*?)</td><td>(.*?)</td><td>(.*?)</td>', text)
    assert sorted(differing) == [("max_epochs", "2", "1"), ("optim.lr", "0.015", "1e-06")]
    report.main(["checkpoints/a", "checkpoints/b", "--output", "c.html"])
    assert (workplace / "c.html").read_text() == text


def test_a_folder_that_is_no_run_is_one_line(workplace):
    with pytest.raises(UsageError, match=r"^data is not a run's folder: expected one with summary.json or metrics"):
        report.main(["data"])
    with pytest.raises(UsageError, match=r"^nowhere is not a folder"):
        report.main(["nowhere", "data"])
    with pytest.raises(UsageError, match="--output is for a comparison"):
        (workplace / "metrics.csv").touch()
        report.main([".", "--output", "x.html"])
    with pytest.raises(UsageError, match="^'nnn.* is not a run's folder: File name too long$"):
        report.main(["n" * 300])


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("nowhere/x.html", "--output nowhere/x.html: its folder does not exist"),
        ("checkpoints/a/best.ckpt", "--output checkpoints/a/best.ckpt: expected a name that ends in .html"),
        ("folder.html", "--output folder.html is a folder, not a file"),
        ("x" * 300 + ".html", "File name too long"),
        ("mine.html", "mine.html exists and is not a comparison of runs: choose another name"),
        ("a/report.html", "a/report.html exists and is not a comparison of runs: choose another name"),
    ],
)
def test_a_comparison_replaces_nothing_but_a_comparison(workplace, output, message):
    (workplace / "a").mkdir()
    (workplace / "a" / "metrics.csv").touch()
    (workplace / "folder.html").mkdir()
    (workplace / "mine.html").write_text("mine")
    report.main(["a"])
    before = {path: path.read_bytes() for path in workplace.rglob("*") if path.is_file()}
    with pytest.raises(UsageError) as caught:
        report.main(["a", "a", "--output", output])
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in workplace.rglob("*") if path.is_file()} == before
    for _ in range(2):
        report.main(["a", "a", "--output", "x" * 250 + ".html"])


@pytest.fixture
def record(workplace):
    """A run's folder, written here, with some of everything."""
    folder = workplace / "a"
    (folder / "plots").mkdir(parents=True)
    summary = {"status": "finished", "metrics": {"test/acc": 0.5, "test/iou/cat": None}, "seconds": {"fit": 2}}
    summary |= {"best": {"metric": "val/acc", "value": 0.5, "epoch": 1}, "images": {"train": 3}}
    figures = {"measured": "images", "classes": [{"class": "cat", "count": 3}], "mistakes": [{"true": "cat"}]}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "plots" / "figures.json").write_text(json.dumps(figures))
    (folder / "metrics.csv").write_text("epoch,step,train/loss,val/loss\n0,9,1.5,2.5\n1,19,0.5,1e400\n")
    (folder / "config.yaml").write_text("max_epochs: 3\n")
    return folder


def test_what_a_record_leaves_out_is_left_out(record):
    report.main(["a"])
    text = (record / "report.html").read_text()
    assert "50.00 %" in text and "- parameters" in text and "<td>cat</td>" in text
    (record / "summary.json").write_text("{}")
    report.main(["a"])
    report.main(["a", "a"])
    assert "There is no summary.json" not in (record / "report.html").read_text()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("summary.json", "{", "Expecting property name"),
        ("summary.json", "[" * 100_000, "recursion"),
        ("summary.json", "[]", "it is [], expected a mapping"),
        ("summary.json", '{"metrics": "many"}', "metrics is 'many', expected a mapping"),
        ("summary.json", '{"metrics": {"test/acc": "good"}}', "metrics.test/acc is 'good', expected a number"),
        ("summary.json", '{"seconds": {"fit": true}}', "seconds.fit is True, expected a number"),
        ("summary.json", '{"parameters": 1e999}', "parameters is inf, expected a whole number"),
        ("summary.json", '{"seconds": {"fit": 1e999}}', "seconds.fit is inf, a number out of range"),
        ("summary.json", '{"epochs": 1' + "0" * 400 + "}", "a number out of range"),
        ("summary.json", '{"epochs": 1' + "0" * 5000 + "}", "integer string conversion"),
        ("summary.json", '{"git": "dirty"}', "git is 'dirty', expected a mapping"),
        ("summary.json", '{"name": ["a"]}', "name is ['a'], expected a text"),
        ("summary.json", "\xff", "utf-8"),
        ("plots/figures.json", '{"classes": {}}', "classes is {}, expected a list"),
        ("plots/figures.json", '{"classes": [{"class": 3}]}', "classes[0].class is 3, expected a text"),
        ("plots/figures.json", '{"confused": [3]}', "confused[0] is 3, expected a mapping"),
        ("metrics.csv", "epoch,step\n0," + "1" * 200_000, "field larger than field limit"),
        ("config.yaml", "seed: 2024-13-45", "line 1: '2024-13-45' is no timestamp"),
        ("config.yaml", "a: &a [1]\nb: *a\n", "aliases"),
    ],
)
def test_a_record_that_cannot_be_right_is_one_line_that_names_it(record, file, content, message):
    (record / file).write_bytes(content.encode("latin-1"))
    for runs in (["a"], ["a", "a"]):
        if file == "plots/figures.json" and len(runs) == 2:  # not compared
            continue
        with pytest.raises(RunError) as caught:
            report.main(runs)
        text = str(caught.value)
        assert f"a/{file}" in text and message in text and "\n" not in text and len(text) < 400


@pytest.mark.parametrize("file", ["summary.json", "metrics.csv", "config.yaml", "plots/figures.json"])
def test_a_record_that_is_no_file_is_not_waited_for(record, file):
    (record / file).unlink()
    os.mkfifo(record / file)
    with pytest.raises(RunError, match=f"a/{file} .*a pipe or device, not a file"):
        report.main(["a"])


def test_lines_that_a_power_cut_spoilt_are_passed_over(tmp_path):
    path = tmp_path / "metrics.csv"
    lines = ["epoch,step,train/loss", "0,9,2.0", "0,²,9.0", f"0,{10**400},9.0", "\0" * 50 + "1,19,1.0", "1,29,1e300"]
    path.write_bytes("\n".join([*lines, "\0" * 99]).encode() + b"\xff")
    assert read_curves(path) == {"train/loss": [(1.0, 2.0), (2.0, 1.0)]}


def test_a_run_that_was_killed_early_has_a_page(workplace):
    (workplace / "a").mkdir()
    (workplace / "a" / "metrics.csv").write_text("epoch,step,lr\n0,4,0.1\n")
    report.main(["a"])
    assert "There is no summary.json" in (workplace / "a" / "report.html").read_text()


def test_numbers_stand_where_they_were_logged(tmp_path):
    path = tmp_path / "metrics.csv"
    rows = [
        {"epoch": 0, "step": 4, "val/loss": 2.0, "lr": 0.1},
        {"epoch": 0, "step": 9, "train/loss": 3.0, "val/loss": 1.5},
        {"epoch": 1, "step": 14, "lr": "nan"},
        {"epoch": 1, "step": 19, "train/loss": 1.0, "val/loss": "inf"},
        {"epoch": 2, "step": 24, "lr": 0.2},
    ]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", "step", "train/loss", "val/loss", "lr"])
        writer.writeheader()
        writer.writerows(rows)
        file.write("2,2")  # cut short
    assert read_curves(path) == {
        "val/loss": [(0.5, 2.0), (1.0, 1.5)],
        "lr": [(0.5, 0.1), (2.5, 0.2)],
        "train/loss": [(1.0, 3.0), (2.0, 1.0)],
    }
    assert read_curves(tmp_path / "none.csv") == {}
