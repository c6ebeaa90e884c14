"""ONNX: a graph of standard operations, run by onnxruntime or any other program that reads the format."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.contract.errors import UserError
from engine.contract.task import Task
from engine.export.model import about, capture, of_program, read_about, silence
from engine.inference.model import Model
from engine.resume.checkpoint_file import first_line

LONGEST_SECONDS = 300  # per batch, for a graph with a loop
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def write(task: Task, raw: Tensor, path: Path) -> None:
    """See `engine.inference.model.Write`."""
    import onnx
    import onnxscript  # noqa: F401  torch needs it; without it, `extra_needed` has a clearer message than torch

    with silence():
        graph = capture(task, raw)
        said = task.input.graph(None)
        names = list(graph.call_spec.out_spec.context)
        try:
            program = torch.onnx.export(graph, dynamo=True, input_names=[said.name], output_names=names, verbose=False)
            assert program is not None
            program.rename_axes(_free_sizes(program.model, said.axes))
            model: Any = program.model_proto
            onnx.helper.set_model_props(model, about(task, names))
            _forget_sources(model)
            content = model.SerializeToString()
        except Exception as error:  # torch has a type for each of its many reasons
            raise UserError(f"the network cannot be written as ONNX ({first_line(error)})") from error
    path.write_bytes(content)


def _free_sizes(model: Any, axes: Sequence[str]) -> dict[Any, str]:
    """Return names for the input's free sizes, which torch has only numbered."""
    named = zip(model.graph.inputs[0].shape, axes, strict=True)
    return {size: name for size, name in named if not isinstance(size, int)}


def _forget_sources(model: Any) -> None:
    """Drop the source lines and paths on this machine that torch stores with each operation."""
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        for node in nodes:
            del node.metadata_props[:]


def _parts(message: Any) -> Iterator[Any]:
    """Yield an ONNX file's protobuf message and all messages within it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if hasattr(value, "__len__") else [value]:
                yield from _parts(inner)


def read(path: Path, device: str) -> Model:
    """See `engine.inference.model.Read`. Files with external data are refused: onnxruntime would read other files."""
    import onnx
    import onnxruntime

    provider = PROVIDERS.get(torch.device(device).type)
    if provider not in onnxruntime.get_available_providers():
        raise UserError(f"this onnxruntime cannot compute on {device}: use --device cpu, or install onnxruntime-gpu")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # fatal; other errors arrive as exceptions
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.load_model_format", "ONNX")  # no guessing of another format
    try:
        content = path.read_bytes()
        parts = list(_parts(onnx.ModelProto.FromString(content)))
        if any(getattr(part, "external_data", ()) or getattr(part, "data_location", 0) for part in parts):
            raise UserError("it has weights in other files")
        session = onnxruntime.InferenceSession(content, options, providers=[provider])
    except Exception as error:  # onnxruntime's own types have no other common base
        raise UserError(f"{path} is not an ONNX file that can be read ({first_line(error)})") from error
    may_not_end = any(getattr(part, "op_type", "") == "Loop" for part in parts)
    said = read_about(path, session.get_modelmeta().custom_metadata_map)
    names, given = said.outputs, {output.name for output in session.get_outputs()}
    inputs = {i.name: i.shape for i in session.get_inputs()}
    own = said.task.input_type.of(said.hparams)
    name, shape = own.graph(None).name, list(own.shape)[: 1 if said.task.takes_any_size else None]
    if inputs.keys() != {name} or inputs[name][1 : 1 + len(shape)] != shape or not set(names) <= given:
        raise UserError(f"{path} has other inputs or outputs than it describes: export it again")

    def compute(raw: np.ndarray) -> list[np.ndarray]:
        values: list[np.ndarray] = session.run(names, {name: raw})
        return values

    def compute_in_time(raw: np.ndarray) -> list[np.ndarray]:
        """Compute with a time limit, since a loop may not end; Ctrl-C works meanwhile."""
        run = onnxruntime.RunOptions()
        with ThreadPoolExecutor(max_workers=1) as pool:
            running = pool.submit(session.run, names, {name: raw}, run)
            try:
                values: list[np.ndarray] = running.result(timeout=LONGEST_SECONDS)
            except TimeoutError as error:
                raise UserError(f"it does not end within {LONGEST_SECONDS} seconds") from error
            finally:
                run.terminate = True
        return values

    def outputs(raw: Tensor) -> dict[str, Tensor]:
        try:
            values = (compute_in_time if may_not_end else compute)(raw.cpu().numpy())
        except Exception as error:
            raise UserError(first_line(error)) from error
        return {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}

    return of_program(said, outputs)
