"""Answers given before torch is imported: --help, and errors about misspelt flags."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from engine.config.config import help_for, read_command_line, resolve
from engine.config.options import RUN_OPTIONS, trainer_options
from engine.config.outlines import parts_in_source
from engine.config.yaml_files import Source, read_config_file
from engine.contract.parts import hand_over, parts
from engine.errors import UsageError


def answered(arguments: Sequence[str], project: str) -> bool:
    """Print the help page if the command line asks for it; return whether it was printed.

    If the project's source alone does not tell the options, return False: the caller imports it and answers then.

    Raises:
        UsageError: a flag is misspelt.
    """
    line = read_command_line(arguments)
    known = {option.key for option in (*trainer_options(), *RUN_OPTIONS)}
    misspelt = any("." not in key and key not in known for key in line.flags)
    if project in sys.modules or "ckpt_path" in line.flags or not (misspelt or line.wants_help is not None):
        return False
    try:
        hand_over(parts_in_source(project))
        if line.wants_help is not None:
            page = help_for(line)
        else:
            resolve([*map(read_config_file, line.config_files), Source("command line", line.flags)])
            return False
    except UsageError:
        raise
    except Exception:  # owners may write parts in ways an outline cannot follow; importing them always works
        return False
    print(page)
    return True


def tasks_of(project: str) -> Mapping[str, Any]:
    """Return a project's tasks by name: their outlines if its source says enough and it is not imported yet."""
    if project not in sys.modules:
        try:
            hand_over(parts_in_source(project))
        except Exception:  # as above
            importlib.import_module(project)
    return parts().tasks
