"""PyTorch's own format of a graph, .pt2: run by torch alone, without this project."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export.passes import move_to_device_pass

from engine.contract.errors import UserError
from engine.contract.task import Task
from engine.export.model import about, capture, of_program, read_about, silence
from engine.inference.model import Model
from engine.resume.checkpoint_file import first_line

ABOUT = "about.json"  # the part of the file that holds its description


def write(task: Task, raw: Tensor, path: Path) -> None:
    """See `engine.inference.model.Write`."""
    with silence():
        graph = capture(task, raw)
        _forget_sources(graph.graph_module)
        names = list(graph.call_spec.out_spec.context)
        said = json.dumps(about(task, names))
        with open(path, "wb") as file:
            torch.export.save(graph, file, extra_files={ABOUT: said})


def _forget_sources(module: torch.fx.GraphModule) -> None:
    """Drop the source lines and paths on this machine that torch stores with each operation."""
    for part in module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)


def read(path: Path, device: str) -> Model:
    """See `engine.inference.model.Read`. Only for a file just written: torch's loader can run code from the file."""
    extra = {ABOUT: ""}
    try:
        with silence():
            graph = torch.export.load(path, extra_files=extra)
            if torch.device(device).type != "cpu":
                graph = move_to_device_pass(graph, device)
            module: Any = graph.module()
    except Exception as error:  # torch has a type for each of its many reasons
        raise UserError(f"{path} is not an exported program that can be read ({first_line(error)})") from error
    said = read_about(path, json.loads(extra[ABOUT]) if extra[ABOUT] else None)

    def outputs(raw: Tensor) -> dict[str, Tensor]:
        try:
            found: dict[str, Tensor] = module(raw.to(device))
        except (RuntimeError, AssertionError, ValueError) as error:  # the graph is for another size
            raise UserError(first_line(error)) from error
        return found

    return of_program(said, outputs)
