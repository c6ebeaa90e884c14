"""The parts that a project is made of, by name: it hands its own over once, and the engine builds them from here."""

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
    find_backbone: Callable[[str], Callable[..., Any]]  # of a name that may not be in `backbones`
    heads: Mapping[str, type["Head"]]
    tasks: Mapping[str, type["Task"]]
    data: Mapping[str, Callable[..., Any]]
    own_data: Sequence[Any]  # data modules for a folder; the first whose `reads(path)` is true is taken
    defaults: Path  # the folder of TASK.yaml, the default options of each task
    augmentations: Mapping[str, Callable[[Any, Any], Any]] = field(default_factory=dict)  # of a sample
    optimisers: Mapping[str, Callable[..., Any]] = field(default_factory=lambda: _optim().OPTIMISERS)
    training_options: Callable[..., Any] = field(default_factory=lambda: _optim().training_options)


def _optim() -> Any:
    from engine.contract import optim  # it imports torch, without which outlines of parts are read

    return optim


_handed: list[Parts] = []


def hand_over(own: Parts) -> None:
    """Have the engine build these parts from now on."""
    _handed[:] = [own]


def parts() -> Parts:
    """Return the project's parts.

    Raises:
        RuntimeError: none were handed over.
    """
    if not _handed:
        raise RuntimeError("the engine has no parts yet: import the package that hands over its own first")
    return _handed[0]


# ---- backbones and heads ----

_fetching = contextvars.ContextVar("fetching", default=True)


@contextlib.contextmanager
def weights_not_fetched() -> Iterator[None]:
    """Within, backbones do not fetch pretrained weights: those of a checkpoint are about to be loaded."""
    token = _fetching.set(False)
    try:
        yield
    finally:
        _fetching.reset(token)


def backbone_options(freeze: bool | int = False) -> None:
    """What is asked of every backbone, besides its own options.

    Args:
        freeze: keep its weights, and the statistics of its normalisations: true, or the number of epochs to begin with.

    Raises:
        UserError: a number of epochs below 0.
    """
    if freeze < 0:
        raise UserError(f"freeze is true, false or a number of epochs, 0 or more, got {freeze}")


def build_backbone(name: str, input: "Input", **options: Any) -> "Backbone":
    """Build a backbone by name for an input, of which it is told what its constructor names.

    Options that every backbone has (`backbone_options`) are checked; whoever trains it obeys them.

    Raises:
        UserError: no such backbone, one for another input, or an option or value that it does not take.
        OSError: its pretrained weights cannot be had.
    """
    builder = parts().find_backbone(name)
    known = input.for_backbone()
    shared = {key: options.pop(key) for key in list(options) if key in options_of(backbone_options)}
    check_options(f"backbone {name}", options, builder, (*known, "name"))
    check_options("backbone", shared, backbone_options)
    backbone_options(**shared)
    takes = getattr(getattr(builder, "func", builder), "takes", "images")
    if takes != input.form:
        raise UserError(f"backbone {name} takes {takes}, and {input.word} come as {input.form}: choose another")
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
    """Refuse a head that is not of the kind that a task needs: `ClassHead`, `MapHead`, `BoxHead` or another.

    Raises:
        UserError: no such head, or one of another kind; names those that would do.
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
    """Rebuild whatever task a checkpoint file holds, ready for use.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file is not a whole checkpoint of one of our tasks.
    """
    from engine.resume.checkpoint_file import read_checkpoint

    return task_of(read_checkpoint(path), map_location)


def task_of(checkpoint: Mapping[str, Any], map_location: Any = "cpu") -> "Task":
    """Rebuild whatever task a checkpoint holds that has been read; raises what `load_task` does."""
    return look_up("task", checkpoint["task"], parts().tasks).from_checkpoint(checkpoint, map_location)


# ---- data ----


def is_path(name: str) -> bool:
    """Whether a name means a folder of somebody's own, and not one of our data modules."""
    return (
        bool(name)
        and name not in parts().data
        and ("/" in name or "\\" in name or name.startswith((".", "~")) or Path(name).is_dir())
    )


def own_data(path: Path) -> Any:
    """Return the data module that reads a folder of somebody's own."""
    return next(module for module in parts().own_data if module.reads(path))


def find_data(name: str) -> Callable[..., "DataModule"]:
    """Return the constructor of a data module: one of ours by name, or that of folders for a path.

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
    """Build a data module by name, or for a path, whose batches are those of `task`: classify, segment, ...

    `seed` determines the order of training and its augmentation. `known` is what a checkpoint says of its files.

    Raises:
        UserError: no such data module, or folder, or not for this task; or an option or value that it does not take.
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
