import contextlib
import importlib.util
import json
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger

from engine.config.loggers import find_logger
from engine.contract.errors import UserError
from engine.errors import UsageError
from engine.resume.checkpoint_file import read_checkpoint
from scripts import train
from tests.runs import run, same

HERE = "tests.engine.record.test_logger"
MOMENTS = ("init", "log_hyperparams", "log_metrics", "save", "finalize")


class Notebook(CSVLogger):
    """A user's own logger, which fails at one moment, after a number of times that went well."""

    written: list = []  # noqa: RUF012, what all of them wrote

    def __init__(self, save_dir: str, fails_at: str = "", after: int = 0, run_id: str | None = None) -> None:
        super().__init__(save_dir)
        self.fails_at, self.left, self.run_id = fails_at, after, run_id or "first"
        self.note("init", self.run_id)

    def note(self, moment, what):
        if moment == self.fails_at:
            if self.left == 0:
                raise ValueError("you tried to log what is not supported") from OSError(28, "No space left on device")
            self.left -= 1
        self.written.append((moment, what))

    @property
    def version(self):
        return self.run_id

    def log_hyperparams(self, params):
        self.note("log_hyperparams", params)

    def log_metrics(self, metrics, step=None):
        self.note("log_metrics", {**metrics, "step": step})

    def save(self):
        self.note("save", None)

    def finalize(self, status):
        self.note("finalize", status)


class Addressed(CSVLogger):
    def __init__(self, save_dir: str, url: str) -> None:
        super().__init__(save_dir)


class Lacking(CSVLogger):
    def __init__(self) -> None:
        import there_is_no_such_package  # noqa: F401


@pytest.fixture(autouse=True)
def nothing_written():
    Notebook.written.clear()


def of(moment):
    return [what for name, what in Notebook.written if name == moment]


@pytest.mark.task("classify")
def test_a_users_own_logger_gets_configuration_and_numbers_and_goes_on_as_the_same_run(workplace, capsys):
    run("--name", "a", "--max_epochs", 1, "--logger", f"{HERE}.Notebook", "--wandb_project", "p")
    assert "logger    Notebook" in capsys.readouterr().out
    (config,) = of("log_hyperparams")
    assert (config["name"], config["seed"], config["backbone"]["name"]) == ("a", 0, "cnn")
    assert {"val/acc", "test/acc", "train/loss"} <= {name for metrics in of("log_metrics") for name in metrics}
    result = json.loads(Path("checkpoints/a/summary.json").read_text())["metrics"]
    assert [metrics["test/acc"] for metrics in of("log_metrics") if "test/acc" in metrics] == [result["test/acc"]]
    assert of("init") == ["first"] and set(of("finalize")) == {"success"}
    with pytest.raises(UsageError, match=r"run a: logger .*: a file can only name loggers of lightning and \w+; give"):
        train.main(["--ckpt_path", "last", "--max_epochs", "2"])
    train.main(["--ckpt_path", "last", "--max_epochs", "2", "--logger", f"{HERE}.Notebook"])
    assert of("init") == ["first", "first"] and len(of("log_hyperparams")) == 1
    saved = read_checkpoint(Path("checkpoints/a/last.ckpt"))["run"]
    assert saved["logger_id"] == "first" and saved["config"]["logger"] == {"name": f"{HERE}.Notebook"}
    train.main(["--ckpt_path", "last", "--max_epochs", "3", "--logger", "none"])
    assert of("init") == ["first", "first"]


@pytest.mark.parametrize(("moment", "after"), [*((moment, 0) for moment in MOMENTS), ("log_metrics", 4)])
def test_a_logger_that_fails_is_said_once_and_changes_nothing(workplace, capsys, moment, after):
    run("--name", "a", "--max_epochs", 2, "--log_every_n_steps", 2)
    flags = ("--logger", f"{HERE}.Notebook", "--logger.fails_at", moment, "--logger.after", after)
    capsys.readouterr()
    run("--name", "b", "--max_epochs", 2, "--log_every_n_steps", 2, *flags)
    assert capsys.readouterr().err == (
        "warning: Notebook failed ([Errno 28] No space left on device); training goes on without it\n"
    )
    assert len(of(moment)) == after
    first, second = (read_checkpoint(Path(f"checkpoints/{name}/last.ckpt")) for name in "ab")
    assert same(first, second)
    assert json.loads(Path("checkpoints/b/summary.json").read_text())["status"] == "finished"


@pytest.mark.task("classify")
def test_a_lightning_logger_writes_to_the_runs_folder_and_a_resumed_run_loses_nothing(workplace):
    run("--name", "a", "--max_epochs", 1, "--logger", "lightning.pytorch.loggers.CSVLogger")
    first = Path("checkpoints/a/version_0/metrics.csv").read_text()
    train.main(["--ckpt_path", "last", "--max_epochs", "2"])
    assert Path("checkpoints/a/version_0/metrics.csv").read_text() == first
    assert "test/acc" in Path("checkpoints/a/version_1/metrics.csv").read_text()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["tensorbord"], r"unknown logger 'tensorbord'; did you mean tensorboard\?"),
        (["wandb"], "Weights & Biases is chosen with --wandb"),
        (["lightning.pytorch.loggers.WandbLogger"], "Weights & Biases is chosen with --wandb"),
        (["no_such_module.Logger"], "there is no module no_such_module"),
        ([f"{HERE}.Notebok"], r"has no Notebok; did you mean Notebook\?"),
        (["os.getcwd"], "expected a class derived from"),
        (["os.PathLike"], "expected a class derived from"),
        (["lightning.pytorch.loggers.Logger"], "expected a class derived from"),
        (["..x"], "expected the dotted name of a class"),
        ([f"{HERE}.Notebook", "--logger.fails", "save"], r"no.* option --logger.fails for .*mean --logger.fails_at\?"),
        ([f"{HERE}.Notebook", "--logger.after", "x"], "logger.after is INT, got 'x'"),
        ([f"{HERE}.Notebook", "--logger.api_key", "x"], "unknown option --logger.api_key"),
        (["lightning.pytorch.loggers.CometLogger", "--logger.api_key", "x"], "would be stored in config.yaml"),
        ([f"{HERE}.Addressed"], "needs --logger.url"),
        ([f"{HERE}.Lacking"], "No module named 'there_is_no_such_package'"),
        (["none", "--logger.after", "1"], "needs a logger to be set: give --logger NAME"),
    ],
)
def test_a_wrong_logger_is_one_line_before_anything_is_written(workplace, flags, said):
    with pytest.raises(UsageError, match=said):
        run("--logger", *flags)
    assert not list(workplace.glob("checkpoints/*/*"))


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_package_that_is_not_installed_is_one_line(monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=rf'{name} is not installed: pip install -e "\.\[{name}\]"'):
        find_logger(name, from_file=False)


def test_a_file_of_options_names_no_module_of_a_stranger(workplace):
    Path("a.yaml").write_text("logger: antigravity.Logger\n")
    with pytest.raises(UsageError, match=r"a\.yaml: logger antigravity\.Logger: a file can only name loggers of"):
        run("--config", "a.yaml")


def test_tensorboard_goes_on_in_the_same_folder_and_no_step_is_there_twice(workplace):
    pytest.importorskip("tensorboard", reason="needs the extra [tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    flags = ("--max_epochs", 2, "--log_every_n_steps", 2, "--logger", "tensorboard")
    run("--name", "full", *flags)
    run("--name", "cut", *flags, "--save_every_steps", 3, "--max_steps", 17)  # logged to 17, and saved at 15
    Path("checkpoints/cut/last.ckpt").unlink()
    train.main(["--ckpt_path", "checkpoints/cut/previous.ckpt", "--max_steps", "-1"])
    events = [EventAccumulator(f"checkpoints/{name}/tensorboard").Reload() for name in ("full", "cut")]
    for name in ("train/loss_step", "val/acc", "test/acc", "final/test/acc"):
        full, cut = ([event.step for event in one.Scalars(name)] for one in events)
        assert full == cut == sorted(set(full)) and full
    assert "_hparams_/session_start_info" in events[0].summary_metadata


def test_mlflow_goes_on_in_the_same_run_and_keeps_the_best_weights_on_request(workplace):
    mlflow = pytest.importorskip("mlflow", reason="needs the extra [mlflow]")
    flags = ("--logger", "mlflow", "--logger.tags", "{kind: test}", "--upload_best", "true")
    run("--name", "a", "--max_epochs", 1, *flags)
    train.main(["--ckpt_path", "last", "--max_epochs", "2"])
    client = mlflow.MlflowClient("sqlite:///checkpoints/mlflow.db")
    (tracked,) = client.search_runs([client.get_experiment_by_name("project").experiment_id])
    result = json.loads(Path("checkpoints/a/summary.json").read_text())["metrics"]
    assert tracked.data.metrics["test/acc"] == result["test/acc"] and tracked.data.params["max_epochs"] == "1"
    assert tracked.data.tags["kind"] == "test" and tracked.info.run_name == "a"
    assert [file.path for file in client.list_artifacts(tracked.info.run_id)] == ["best.ckpt"]
    with contextlib.suppress(AttributeError):  # its connection to the database
        mlflow.tracking._tracking_service.utils._get_store("sqlite:///checkpoints/mlflow.db").engine.dispose()
