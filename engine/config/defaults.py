"""The defaults of a task: TASK.yaml in the project's folder of defaults."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config.yaml_files import SECTIONS, flatten, read_config_file
from engine.contract.errors import UserError
from engine.contract.parts import parts
from engine.contract.registry import brief, closest
from engine.errors import UsageError

NEEDED = ("data.name", "backbone.name", "head.name", "optim.name", "max_epochs")


@dataclass(frozen=True)
class Defaults:
    """A task's default options, by dotted key.

    Args:
        file: path of the file they were read from.
        values: the options for the default data, which they name.
        own_data: the options that replace some of these with other data.
    """

    file: str
    values: dict[str, Any]
    own_data: dict[str, Any]

    def with_data(self, name: Any) -> dict[str, Any]:
        """Return the defaults for data of this name; None means the default data."""
        if name in (None, self.values["data.name"]):
            return self.values
        replaced = {"data", *(key.partition(".")[0] for key in self.own_data if key.endswith(".name"))}
        kept = {key: value for key, value in self.values.items() if key.partition(".")[0] not in replaced}
        return {**kept, **self.own_data, "data.name": name}


def read_defaults(task: type) -> Defaults:
    """Read the defaults of a task, or those of its nearest parent if it has no file of its own.

    Raises:
        UsageError: the file is missing or invalid.
    """
    names = [name for kind in task.__mro__ for name, known in parts().tasks.items() if known is kind]
    if not names:
        raise UsageError(f"{task.__name__} is not in TASKS and so has no defaults: name its backbone and head")
    paths = [parts().defaults / f"{name}.yaml" for name in names]
    path = next((path for path in paths if path.exists()), paths[0])
    file = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    if not path.exists():
        raise UsageError(f"task {names[0]} has no defaults: there is no file {file}")
    values = read_config_file(file).values
    own_data = values.pop("own_data", {})
    if not isinstance(own_data, Mapping):
        raise UsageError(f"{file}: own_data is a mapping of options, got {brief(own_data)}")
    for key, value in values.items():
        if isinstance(value, Mapping):
            raise UsageError(f"{file}: unknown key {key}{closest(key, (*SECTIONS, 'own_data'))}")
    if values.pop("task.name", path.stem) != path.stem:
        raise UsageError(f"{file}: task.name is {path.stem}, as the file's name says; leave it out")
    for key in NEEDED:
        if values.get(key) is None:
            raise UsageError(f"{file}: {key} is missing")
    try:
        return Defaults(file, values, flatten(own_data))
    except UserError as error:
        raise UsageError(f"{file}: own_data: {error}") from error
