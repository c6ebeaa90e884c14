"""Recording a run in Weights & Biases, if available."""

import contextlib
import netrc
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import _DummyExperiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from engine.inputs.reading import regular
from engine.record.harmless import cause, give_up, harmless, warn
from engine.record.redact import redact

ANSWER_SECONDS = 3


class Tracker(WandbLogger):
    """Lightning's WandbLogger, whose failures never reach the training.

    Relies on `_wandb_init` (the arguments of wandb.init), on `_experiment` (the run once started), and on
    `_DummyExperiment`, which does nothing.

    Args:
        folder: the run's folder; the tracker's files go to its wandb/.
        run_id: the same id continues the same run.
        name: the run's name.
        online: whether to upload while training; otherwise the files can be uploaded later.
        options: the tracked run's project, entity, group and tags; W&B's own environment variables and settings
            decide those not given.
    """

    label = "Weights & Biases"

    def __init__(
        self, folder: Path, run_id: str, name: str, online: bool, options: Mapping[str, Any] | None = None
    ) -> None:
        import wandb

        self.failure: str | None = None
        self.online = online
        settings = wandb.Settings(
            init_timeout=15,
            finish_timeout=60,  # the rest stays on the disk, for `wandb sync`
            console="off",  # do not upload the terminal's output
            save_code=False,
            disable_git=True,  # no remote URL, no diff
            disable_job_creation=True,
            silent=True,
        )
        given = {key: value for key, value in (options or {}).items() if value is not None}
        super().__init__(
            name=name,
            id=run_id,
            save_dir=str(folder),
            mode="online" if online else "offline",
            settings=settings,
            log_model=False,
            **{"project": os.environ.get("WANDB_PROJECT") or "project", **given},
        )
        del self._wandb_init["anonymous"]  # deprecated by wandb, but Lightning passes it on

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The tracked run, started on first use: offline if online fails, a dummy if that fails too."""
        if self.failure is None and self._experiment is None and self.online:
            try:
                return super().experiment
            except Exception as error:
                self.online = False
                self._wandb_init["mode"] = "offline"
                self.close()  # the failed start would keep the run's id in use
                warn(f"Weights & Biases: offline, as starting online failed ({cause(error)})")
        if self.failure is None:
            try:
                return super().experiment
            except Exception as error:
                give_up(self, error)
        return _DummyExperiment()

    def close(self) -> None:
        """Remove every trace of a failed run from this process, for the next one."""
        import wandb

        self._experiment = None
        with contextlib.suppress(Exception):  # it fails if wandb's own process is gone
            wandb.teardown(exit_code=1)
        wandb.run = None

    @property
    def files(self) -> Path | None:
        """The folder of this run's files, once the tracker has started."""
        started: Any = self._experiment if self.failure is None else None
        return Path(started.dir).parent if started is not None else None

    log_hyperparams = harmless(WandbLogger.log_hyperparams)
    finalize = harmless(WandbLogger.finalize)
    after_save_checkpoint = harmless(WandbLogger.after_save_checkpoint)
    watch = harmless(WandbLogger.watch)

    @rank_zero_only
    @harmless
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log under the optimiser's step, so that a resumed run continues the count, also offline."""
        self.experiment.log({**metrics, "trainer/global_step": step}, step=step)

    @harmless
    def log_configuration(self, config: Mapping[str, Any]) -> None:
        """Record the whole configuration of the run."""
        self.experiment.config.update(redact(config), allow_val_change=True)

    @harmless
    def log_report(self, pictures: Mapping[str, Path], tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Show a report's pictures, PNG files by name, and its tables, `columns` and `rows` by name."""
        import wandb

        shown: dict[str, Any] = {f"report/{name}": wandb.Image(str(path)) for name, path in pictures.items()}
        for name, table in tables.items():
            # As text, because a column of wandb.Table has one type, and some classes have no number.
            rows = [[str(cell) for cell in row] for row in table["rows"]]
            shown[f"report/{name}"] = wandb.Table(columns=list(table["columns"]), data=rows)
        self.experiment.log(shown)

    @harmless
    def upload(self, path: Path) -> None:
        """Keep a file with the tracked run, as an artifact; offline, `wandb sync` uploads it."""
        import wandb

        artifact = wandb.Artifact(f"model-{self.version}", type="model")
        artifact.add_file(str(path))
        self.experiment.log_artifact(artifact, aliases=["best"])

    @harmless
    def finish(self, exit_code: int) -> None:
        """Close the tracked run; if online, upload the rest."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=exit_code)


def open_tracker(
    wanted: str, folder: Path, run_id: str, name: str, options: Mapping[str, Any]
) -> tuple[Tracker | None, str]:
    """Return the tracker that --wandb asks for, None if disabled, and a few words on its mode."""
    try:
        mode, reason = choose_mode(wanted)
        if mode != "disabled":
            _choose_staging(folder)
        tracker = None if mode == "disabled" else Tracker(folder, run_id, name, mode == "online", options)
    except Exception as error:  # such as invalid wandb settings in environment variables
        return None, f"disabled, as it cannot be set up ({cause(error)})"
    return tracker, f"{mode} ({reason})" if reason else mode


def _choose_staging(folder: Path) -> None:
    """Have W&B stage files in the run's folder if the user's data folder is not writable, for example without HOME."""
    import wandb

    if "WANDB_DATA_DIR" in os.environ:
        return
    try:
        Path(wandb.env.get_data_dir(), "artifacts", "staging").mkdir(parents=True, exist_ok=True)
    except OSError:
        os.environ["WANDB_DATA_DIR"] = str((folder / "wandb").absolute())


def choose_mode(wanted: str) -> tuple[str, str]:
    """Return online, offline or disabled for a value of --wandb, and the reason if it differs from that value."""
    reason = ""
    if wanted == "auto" and os.environ.get("WANDB_MODE") in ("online", "offline", "disabled"):
        wanted, reason = os.environ["WANDB_MODE"], "as WANDB_MODE says"
    if wanted not in ("auto", "online"):
        return wanted, reason
    import wandb

    settings = wandb.setup().settings  # environment and settings files included
    if not _has_key(settings):
        return "offline", "no key is set up: wandb login"
    if wanted == "online":
        return wanted, reason
    try:
        request = urllib.request.Request(settings.base_url, method="HEAD")
        urllib.request.urlopen(request, timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError:
        pass  # it answered
    except (OSError, ValueError):
        return "offline", "its server does not answer"
    return "online", ""


def _has_key(settings: Any) -> bool:
    machines = _read_netrc()  # checked even if there is a key: W&B's HTTP library reads it, too
    if settings.api_key or settings.identity_token_file:
        return True
    return machines.authenticators(urllib.parse.urlsplit(settings.base_url).netloc) is not None


def _read_netrc() -> netrc.netrc:
    """Return the keys in the user's netrc file; hide an unreadable one from every library, with a warning."""
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        return netrc.netrc(path if str(path) == os.devnull else regular(path))
    except FileNotFoundError:
        pass
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError) as error:
        warn(f"{path} is not read: {cause(error)}")
        os.environ["NETRC"] = os.devnull
    return netrc.netrc(os.devnull)
