"""The logger that --logger names, whose failures never reach the training."""

import inspect
import logging
import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities import rank_zero_only

from engine.config.loggers import NONE, find_logger
from engine.contract.errors import UserError
from engine.contract.registry import options_of
from engine.record.harmless import give_up, harmless, warn
from engine.record.redact import redact


class GuardedLogger(Logger):
    """Passes everything on to another logger until its first failure, which is printed; then does nothing.

    Args:
        kind: the class of the other logger.
        options: its arguments.

    Raises:
        UserError: a package that the other logger needs is not installed.
    """

    def __init__(self, kind: type[Logger], options: Mapping[str, Any]) -> None:
        super().__init__()
        self.label = kind.__name__
        self.failure: str | None = None
        self._goes_on = options.get("run_id") is not None
        self._parameters: Mapping[str, Any] = {}
        self._inner: Any = None
        try:
            self._inner = kind(**options)
        except ModuleNotFoundError as error:
            raise UserError(f"--logger: {' '.join(str(error).split())}") from error
        except Exception as error:
            give_up(self, error)

    def close(self) -> None:
        """Let go of the failed logger."""
        self._inner = None

    @harmless
    def _of_inner(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def name(self) -> str | None:
        return self._of_inner("name")

    @property
    def version(self) -> int | str | None:
        return self._of_inner("version")

    @property
    def save_dir(self) -> str | None:
        return self._of_inner("save_dir")

    @property
    def run_id(self) -> str | None:
        """The name by which this tracked run can go on in a resumed run; None if its logger has no such name."""
        return str(self.version) if "run_id" in self._takes() and self.failure is None else None

    @property
    def experiment(self) -> Any:
        """The other logger's own object, for its own functions."""
        return DummyLogger().experiment if (found := self._of_inner("experiment")) is None else found

    def _takes(self) -> Mapping[str, inspect.Parameter]:
        return {} if self._inner is None else options_of(type(self._inner))

    @rank_zero_only
    @harmless
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._inner.log_metrics(dict(metrics), step)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `log_configuration` logs the options of the task together with all others."""

    @harmless
    def log_configuration(self, config: Mapping[str, Any]) -> None:
        """Log the configuration of a run, unless it goes on by its id: MLflow refuses changes."""
        self._parameters = redact(config)
        if not self._goes_on:
            self._inner.log_hyperparams(self._parameters)

    @harmless
    def log_results(self, metrics: Mapping[str, float], step: int) -> None:
        """Log the final metrics with the configuration, if the logger shows both side by side, as TensorBoard does."""
        if "metrics" in inspect.signature(self._inner.log_hyperparams).parameters:
            final = {f"final/{name}": value for name, value in metrics.items()}
            self._inner.log_hyperparams(self._parameters, final, step=step)
            self._inner.save()

    @harmless
    def upload(self, path: Path) -> None:
        """Keep a file with the tracked run, if the logger can, as MLflow's."""
        if hasattr(self.experiment, "log_artifact") and hasattr(self._inner, "run_id"):
            self._inner.experiment.log_artifact(self._inner.run_id, str(path))
        else:
            warn(f"{self.label} keeps no files, so {path.name} is not uploaded to it")

    @rank_zero_only
    @harmless
    def save(self) -> None:
        self._inner.save()

    @rank_zero_only
    @harmless
    def finalize(self, status: str) -> None:
        self._inner.finalize(status)


def open_logger(
    options: Mapping[str, Any], folder: Path, run_id: str | None, step: int
) -> tuple[GuardedLogger | None, str]:
    """Return the logger that --logger names, if any, and a few words on where to find what it logs.

    Args:
        options: `name`, and the options given for it.
        folder: the run's folder.
        run_id: `GuardedLogger.run_id` of the run that goes on, if any.
        step: first step that the run logs.

    Raises:
        UserError: a package that the logger needs is not installed.
    """
    if options["name"] == NONE:
        return None, NONE
    kind = find_logger(options["name"], from_file=False)
    takes = options_of(kind)
    filled: dict[str, Any] = {
        "save_dir": str(folder.parent if "name" in takes else folder),  # for these, a folder in which NAME is made
        "name": folder.name,
        "run_name": folder.name,
        "run_id": run_id,
    }
    filled = {name: value for name, value in filled.items() if name in takes}
    given = {name: value for name, value in options.items() if name != "name"}
    where = kind.__name__
    if issubclass(kind, TensorBoardLogger):
        filled |= {"version": "tensorboard", "default_hp_metric": False}
        if step:
            filled["purge_step"] = step  # hide what an interrupted run logged from there on
        where = f"tensorboard --logdir {folder}"
    if issubclass(kind, MLFlowLogger):
        where = _settle_mlflow(filled, given, folder.parent)
    return GuardedLogger(kind, {**filled, **given}), where


def _settle_mlflow(filled: dict[str, Any], given: Mapping[str, Any], checkpoints: Path) -> str:
    """Fill in where MLflow records runs: a database of all runs, unless an address is given; return how to see them."""
    logging.getLogger("lightning.pytorch.loggers.mlflow").setLevel(logging.ERROR)  # announces a new experiment ...
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # ... and this each table of a new database
    # A server that does not answer is not waited for, which takes minutes by default.
    for name, value in {"MAX_RETRIES": "2", "TIMEOUT": "15"}.items():
        os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", value)
    filled["experiment_name"] = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "project"
    address = given.get("tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI")
    if address is None:
        address = f"sqlite:///{checkpoints}/mlflow.db"
        filled |= {"tracking_uri": address, "artifact_location": (checkpoints / "mlflow").absolute().as_uri()}
    return f"mlflow server --backend-store-uri {address}" if "://" in address and "http" not in address else address
