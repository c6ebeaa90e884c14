"""From the command line of train.py to one checked configuration, and the run it resumes, if any."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config.config import help_for, read_command_line, recorded, resolve
from engine.config.yaml_files import Source, dump, read_config_file
from engine.contract.parts import parts
from engine.errors import RunError, UsageError
from engine.record.summary_file import read_summary
from engine.resume.processes import is_restart
from engine.terminal import quieten, say
from engine.training import run_folder as folders
from engine.training.assemble import check_same_parts
from engine.training.run_folder import Resumed


@dataclass
class Asked:
    """A parsed command line of train.py.

    Args:
        config: the resolved configuration; see `engine.config.config`.
        resumed: the checkpoint to resume from, if any.
        sources: the options as given, by place; later ones override earlier ones.
        began: start of the command, in seconds of time.perf_counter.
    """

    config: dict[str, Any]
    resumed: Resumed | None
    sources: list[Source]
    began: float = field(default_factory=time.perf_counter)

    def change_task(self, name: str) -> bool:
        """Resolve again for the task that fits the data folder; return False if a task was named, or a run resumed."""
        if self.resumed is not None or any("task.name" in source.values for source in self.sources):
            return False
        self.config, _ = resolve([*self.sources, Source("the folder", {"task.name": name})])
        return True


def parse(arguments: list[str]) -> Asked | None:
    """Parse a command line: flags override --config files, and these override the resumed run.

    Return None if nothing is left to do: help or the configuration was printed, or the run is finished.

    Raises:
        UsageError: the command line is invalid; nothing was started.
    """
    line = read_command_line(arguments)
    if line.wants_help is not None:
        print(help_for(line))
        return None
    quieten()
    sources = [read_config_file(path) for path in line.config_files] + [Source("command line", line.flags)]
    given = {key: value for source in sources for key, value in source.values.items()}
    for key in ("name", "ckpt_path", "init_from"):
        if given.get(key) is not None and not isinstance(given[key], str):
            raise UsageError(f"{key} is text, got {given[key]!r}")
    resumed = None
    if given.get("ckpt_path") is not None:
        if given.get("init_from") is not None:
            raise UsageError("--ckpt_path continues a run and --init_from starts one: give one of them")
        resumed = folders.find_resumed(str(given["ckpt_path"]), given.get("name"))
        sources.insert(0, _own(resumed, given))
    config, remarks = resolve(sources)
    if line.print_config:
        print(dump(config), end="")
        return None
    if config["resume"] == "auto" and config["name"] is None:
        raise UsageError("--resume auto finds a run by its name: give --name")
    again = is_restart() or config["resume"] == "auto"
    if again and (own := folders.find_restarted(config)) is not None:
        if resumed is not None:
            del sources[0]
        resumed = own
        sources.insert(0, _own(own, given))
        config, remarks = resolve(sources)
    if resumed is not None:
        check_same_parts(config, resumed)
        folder = folders.folder_that_goes_on(config, resumed)
        metric = config["monitor"] or parts().tasks[config["task"]["name"]].best_metric
        stopped_early = resumed.not_better(metric) >= (config["early_stop"] or math.inf)
        if folder is not None and _is_finished(folder, config, resumed, stopped_early):
            say(f"run {folder.name} is finished after {resumed.epochs_done} epochs: see {folder}/summary.json")
            say(f"give a larger --{'early_stop' if stopped_early else 'max_epochs'} to train longer")
            return None
    for remark in remarks:
        say(f"note: {remark}")
    return Asked(config, resumed, sources)


def _is_finished(folder: Path, config: Mapping[str, Any], resumed: Resumed, stopped_early: bool) -> bool:
    """Whether the resumed run is complete, its test included."""
    try:
        finished = read_summary(folder).get("status") == "finished"
    except RunError:  # damaged: it will be rewritten
        finished = False
    epochs, steps = config["max_epochs"], config["max_steps"]
    return finished and (stopped_early or resumed.epochs_done >= (epochs or 0) > 0 or resumed.steps_done >= steps > 0)


def _own(resumed: Resumed, given: Mapping[str, Any]) -> Source:
    """Return the run's own configuration, with the data folder that --data gives in case it has moved.

    Raises:
        UsageError: the run's folder does not exist any more, and --data gives no other.
    """
    own = Source(f"run {resumed.name}", recorded(resumed.record["config"], resumed.path), is_quiet=True)
    before, now = str(own.values["data.name"]), given.get("data.name")
    if before in parts().data or now in parts().data:
        return own
    if now is not None:
        own.values["data.name"] = now
    elif not Path(before).expanduser().is_dir():
        where = f"the folder {before}, which does not exist"
        raise UsageError(f"run {resumed.name} was trained on {where}: give --data PATH if it has moved")
    return own
