"""A training run from the command line: what scripts/train.py does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.config.config import Source, dump, help_for, read_command_line, read_config_file, recorded, resolve
from engine.contract.parts import parts
from engine.errors import UsageError
from engine.files.layouts import ForOtherTask
from engine.resume.processes import is_restart
from engine.terminal import quieten, say
from engine.training import run_folder as folders
from engine.training.run import Run


def main(arguments: list[str]) -> None:
    """Train as a command line asks; print what a person wants to know, and leave the rest in the run's folder.

    Raises:
        UsageError: the command line makes no sense; nothing was started.
        RunError: the run failed.
    """
    line = read_command_line(arguments)
    if line.wants_help is not None:
        print(help_for(line))
        return
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
        return
    if config["resume"] == "auto" and config["name"] is None:
        raise UsageError("--resume auto goes on with the run of a name: give --name")
    again = is_restart() or config["resume"] == "auto"
    if again and (own := folders.find_restarted(config)) is not None:
        if resumed is not None:
            del sources[0]
        resumed = own
        config, remarks = resolve([_own(own, given), *sources])
    for remark in remarks:
        say(f"note: {remark}")
    try:
        Run(config, resumed).execute()
        return
    except UsageError as error:
        other = error.__cause__
        if not isinstance(other, ForOtherTask) or resumed is not None or "task.name" in given:
            raise
    say(f"note: {other}; so the task is {other.task}")
    config, _ = resolve([*sources, Source("the folder", {"task.name": other.task})])
    Run(config).execute()


def _own(resumed: folders.Resumed, given: Mapping[str, Any]) -> Source:
    """Return the run's own configuration. Its folder of images may have been moved: the place given is then the run's.

    Raises:
        UsageError: the folder is not where it was, and no other place is given.
    """
    own = Source(f"run {resumed.name}", recorded(resumed.record["config"], resumed.path))
    before, now = str(own.values["data.name"]), given.get("data.name")
    if before in parts().data or now in parts().data:
        return own
    if now is not None:
        own.values["data.name"] = now
    elif not Path(before).expanduser().is_dir():
        where = f"the folder {before}, which is not there"
        raise UsageError(f"run {resumed.name} was trained on {where}: give --data PATH if it was moved")
    return own
