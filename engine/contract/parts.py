"""A project's parts by name: the project hands its registries over once, and the engine builds parts from them."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.contract.errors import UserError
from engine.contract.registry import check_options, look_up, options_of

if TYPE_CHECKING:
    from engine.contract.backbone import Backbone
    from engine.contract.data import DataModule
    from engine.contract.heads import Head
    from engine.contract.input import Input
    from engine.contract.task import Task


@dataclass(frozen=True)
class Parts:
    """A project's registries: dictionaries from a name to what builds the part."""

    backbones: Mapping[str, Callable[..., Any]]
    find_backbone: Callable[[str], Callable[..., Any]]  # also for names that are not in `backbones`
    heads: Mapping[str, type["Head"]]
    tasks: Mapping[str, type["Task"]]
    data: Mapping[str, Callable[..., Any]]
    own_data: Sequence[Any]  # data modules for a folder; the first whose `reads(path)` is true wins
    defaults: Path  # the folder of TASK.yaml, the default options of each task
    augmentations: Mapping[str, Callable[[Any, Any], Any]] = field(default_factory=dict)  # of a sample
    optimisers: Mapping[str, Callable[..., Any]] = field(default_factory=lambda: _optim().OPTIMISERS)
    training_options: Callable[..., Any] = field(default_factory=lambda: _optim().training_options)


def _optim() -> Any:
    from engine.contract import optim  # imported here because it imports torch, which outlines of parts avoid

    return optim


_handed: list[Parts] = []


def hand_over(own: Parts) -> None:
    """Have the engine build these parts from now on."""
    _handed[:] = [own]


def parts() -> Parts:
    """Return the project's parts.

    Raises:
        RuntimeError: no project has handed over its parts.
    """
    if not _handed:
        raise RuntimeError("the engine has no parts yet: import the package that hands over its own first")
    return _handed[0]


# ---- backbones and heads ----

_fetching = contextvars.ContextVar("fetching", default=True)


@contextlib.contextmanager
def weights_not_fetched() -> Iterator[None]:
    """Keep backbones from downloading pretrained weights, because a checkpoint's weights will be loaded."""
    token = _fetching.set(False)
    try:
        yield
    finally:
        _fetching.reset(token)


def backbone_options(freeze: bool | int = False) -> None:
    """Check the options that every backbone has besides its own.

    Args:
        freeze: keep its weights and normalisation statistics: true for all epochs, or a number for the first epochs.

    Raises:
        UserError: the number of epochs is below 0.
    """
    if freeze < 0:
        raise UserError(f"freeze is true, false or a number of epochs, 0 or more, got {freeze}")


def build_backbone(name: str, input: "Input", **options: Any) -> "Backbone":
    """Build a backbone by name; its constructor receives those values of the input that it has parameters for.

    Options that every backbone has (`backbone_options`) are only checked here; the task applies them.

    Raises:
        UserError: no such backbone, a backbone for another input, or an option or value that it does not take.
        OSError: its pretrained weights cannot be downloaded or read.
    """
    builder = parts().find_backbone(name)
    known = input.for_backbone()
    shared = {key: options.pop(key) for key in list(options) if key in options_of(backbone_options)}
    check_options(f"backbone {name}", options, builder, (*known, "name"))
    check_options("backbone", shared, backbone_options)
    backbone_options(**shared)
    takes = getattr(getattr(builder, "func", builder), "takes", "images")
    if takes != input.form:
        raise UserError(f"backbone {name} takes {takes}, but {input.word} come as {input.form}: choose another")
    if not _fetching.get():
        options.pop("pretrained", None)
    options |= {key: value for key, value in known.items() if key in options_of(builder)}
    built: Backbone = builder(**options)
    return built


def build_head(name: str, channels: Sequence[int], strides: Sequence[int], num_outputs: int, **options: Any) -> "Head":
    """Build a head by name for maps of these channels and strides.

    Raises:
        UserError: no such head, or an option or value that it does not take.
    """
    builder = look_up("head", name, parts().heads)
    check_options(f"head {name}", options, builder, ("channels", "strides", "num_outputs"))
    return builder(channels=channels, strides=strides, num_outputs=num_outputs, **options)


def check_head_kind(name: str, needed: type["Head"], task: str) -> None:
    """Refuse a head that is not of the kind a task needs: `ClassHead`, `MapHead`, `BoxHead` or another.

    Raises:
        UserError: no such head, or a head of another kind; lists the heads that fit.
    """
    heads = parts().heads
    head = look_up("head", name, heads)
    if not issubclass(head, needed):
        kind = head.__bases__[0].__name__
        others = [other for other, known in heads.items() if issubclass(known, needed)]
        raise UserError(
            f"head {name} is a {kind}, and task {task} needs a {needed.__name__}: use {' or '.join(others)}"
        )


# ---- tasks ----


def load_task(path: Any, map_location: Any = "cpu") -> "Task":
    """Rebuild the task in a checkpoint file, ready for use.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file is not an intact checkpoint of one of the project's tasks.
    """
    from engine.resume.checkpoint_file import read_checkpoint

    return task_of(read_checkpoint(path), map_location)


def task_of(checkpoint: Mapping[str, Any], map_location: Any = "cpu") -> "Task":
    """Rebuild the task in a loaded checkpoint.

    Raises:
        UserError: it is not a checkpoint of one of the project's tasks.
    """
    return look_up("task", checkpoint["task"], parts().tasks).from_checkpoint(checkpoint, map_location)


# ---- data ----


def is_path(name: str) -> bool:
    """Whether a name is a folder's path, not the name of a data module."""
    return (
        bool(name)
        and name not in parts().data
        and ("/" in name or "\\" in name or name.startswith((".", "~")) or Path(name).is_dir())
    )


def own_data(path: Path) -> Any:
    """Return the class of the data module that reads a user's folder."""
    return next(module for module in parts().own_data if module.reads(path))


def find_data(name: str) -> Callable[..., "DataModule"]:
    """Return the constructor of a data module, by the module's name or for a folder's path.

    Raises:
        UserError: there is no such data module.
    """
    if is_path(name):
        return functools.partial(own_data(Path(name).expanduser()), path=name)
    try:
        return look_up("data", name, parts().data)
    except ValueError as error:
        raise UserError(f"{error}; or give the path of a folder") from error


def build_data(name: str, task: str, seed: int, known: Any = None, **options: Any) -> "DataModule":
    """Build a data module by name or for a folder's path, with batches for `task`: classify, segment, ...

    `seed` determines the order of training and its augmentation. `known` are the files recorded in a checkpoint.

    Raises:
        UserError: no such data module or folder, data for another task, or an option or value that it does not take.
    """
    builder = find_data(name)
    check_options(f"data {name}", options, builder, ("task", "seed", "path", "known"))
    if known is not None and "known" in options_of(builder):
        options["known"] = known
    if "task" in options_of(builder):
        options["task"] = task
    data = builder(seed=seed, **options)
    if task not in data.tasks:
        raise UserError(f"data {name} is for task {' or '.join(data.tasks)}, not {task}")
    return data
