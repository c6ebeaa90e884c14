"""--init_from: starts a network from the weights of another."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.contract.errors import UserError
from engine.contract.parts import build_head
from engine.contract.task import Task
from engine.errors import UsageError, one_line
from engine.export.model import read_about
from engine.export.safetensors_file import read_file
from engine.inputs.reading import regular
from engine.resume.checkpoint_file import read_checkpoint, read_tensors

WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which other programs store weights
WRAPPED = ("module.", "_orig_mod.")  # prefixes that DistributedDataParallel and torch.compile put before every name
PREFIXES = ("", "backbone.", "backbone.body.")  # for the weights of a whole task, a backbone, a timm model
SHOWN = 4  # names per line


def initialise(task: Task, path: str) -> list[str]:
    """Copy every weight from a file that matches one of the task's in name and shape; return a report, line by line.

    The file is a checkpoint, an exported .safetensors file, or plain weights saved by torch or safetensors, such as a
    timm model's. If the file names its classes, weights of single classes are matched by class name.

    Raises:
        UsageError: the file holds no weights, or nothing in it matches.
    """
    try:
        given, classes = _read(path)
    except (OSError, UserError) as error:
        raise UsageError(f"--init_from: {one_line(error)}") from error
    own = task.state_dict()
    given = _in_own_names(given, own)
    lines = []
    if classes is not None and classes != list(task.hparams["class_names"]):
        lines.append(_match_classes(task, given, own, classes))
    for name, value in given.items():
        if name in own and value.ndim == 4 and value.shape[1] == 3 != own[name].shape[1]:  # colour weights, grey images
            from timm.models import adapt_input_conv  # imported here because it takes a second and few need it

            given[name] = adapt_input_conv(own[name].shape[1], value)
    matching = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    if not matching:
        raise UsageError(f"--init_from: no weight of {path} has a name and shape of this network")
    task.load_state_dict(matching, strict=False)
    lines.insert(0, f"{len(matching)} of {len(own)} weights from {path}")
    missing = [name for name in own if name not in given]
    reshaped = [name for name in own if name in given and name not in matching]
    unused = [name for name in given if name not in own]
    for label, names in (("not in the file", missing), ("different shape", reshaped), ("only in the file", unused)):
        if names:
            lines.append(f"{label}: {_some(names)}")
    return lines


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:SHOWN])}{f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''}"


def _read(path: str) -> tuple[dict[str, Tensor], list[str] | None]:
    """Return a file's weights by name, and the names of its classes if it records them."""
    about: Any = None
    if Path(path).suffix.lower() == ".safetensors":
        metadata, weights = read_file(regular(path))
        if metadata and "format_version" in metadata:  # one of ours; other programs' metadata can be anything
            about = read_about(Path(path), metadata).hparams
    else:
        if "://" in path or Path(path).is_dir():
            read_checkpoint(path)  # raises the right error
        content = read_tensors(regular(path), legacy=True)
        if not isinstance(content, dict):
            raise UserError(f"{path} holds no weights by name")
        about = content.get("hyper_parameters")
        weights = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), content)
    if not weights or not all(isinstance(n, str) and isinstance(w, Tensor) for n, w in weights.items()):
        raise UserError(f"{path} holds no weights by name, or mixes them with other values")
    bad = next((name for name, w in weights.items() if w.is_floating_point() and not bool(w.isfinite().all())), None)
    if bad is not None:
        raise UserError(f"{path}: weight {bad} has values that are not numbers")
    for prefix in WRAPPED:
        if all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    classes = about.get("class_names") if isinstance(about, dict) else None
    if not isinstance(classes, (list, tuple)) or not all(isinstance(name, str) for name in classes):
        return dict(weights), None
    return dict(weights), list(classes)


def _in_own_names(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights renamed to the network's names, with the prefix of PREFIXES under which most of them match."""
    # timm joins nested names by '_' if a model returns its feature maps, else by '.'.
    plain = {name.replace(".", "_"): name for name in own}
    renamed = [{plain.get((p + name).replace(".", "_"), name): w for name, w in given.items()} for p in PREFIXES]
    return max(renamed, key=lambda weights: len(weights.keys() & own.keys()))


def _match_classes(task: Task, given: dict[str, Tensor], own: Mapping[str, Tensor], classes: list[str]) -> str:
    """Reorder weights of single classes to the task's order of classes; return a line on which classes matched.

    Classes missing in the file keep the network's initial values.
    """
    names = list(task.hparams["class_names"])
    shared = [name for name in names if name in classes]
    here, there = (torch.tensor([order.index(name) for name in shared]) for order in (names, classes))
    for weight, dims in _class_dimensions(task).items():
        if weight not in given or given[weight].ndim != own[weight].ndim:
            continue
        value = given.pop(weight)
        if not shared or any(value.shape[dim] != len(classes) for dim in dims):
            continue
        place = [torch.arange(size) for size in own[weight].shape]
        for dim in dims:
            value = value.index_select(dim, there)
            place[dim] = here
        if value.shape == tuple(len(indices) for indices in place):
            given[weight] = own[weight].clone()
            given[weight][torch.meshgrid(*place, indexing="ij")] = value.to(own[weight])
    new = [name for name in names if name not in classes]
    return f"classes matched by name: {_some(shared) or 'none'}{f'; not in the file: {_some(new)}' if new else ''}"


def _class_dimensions(task: Task) -> dict[str, list[int]]:
    """Return the dimensions of the head's weights with one entry per class: those that grow with one more class."""
    with torch.device("meta"):
        larger = build_head(
            channels=task.backbone.channels,
            strides=task.backbone.strides,
            num_outputs=len(task.hparams["class_names"]) + 1,
            **task.hparams["head"],
        )
    shapes = {name: (value.shape, task.head.state_dict()[name].shape) for name, value in larger.state_dict().items()}
    changed = {
        f"head.{name}": [dim for dim, (a, b) in enumerate(zip(*pair, strict=True)) if a != b]
        for name, pair in shapes.items()
    }
    return {name: dims for name, dims in changed.items() if dims}
