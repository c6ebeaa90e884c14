"""The formats of exported files: written from a task, and read to predict with."""

from engine.export import onnx_file, safetensors_file, torch_file
from engine.inference.model import Format

REFUSAL = (
    "is a program that loading would run, so it is not loaded here: use its checkpoint, or export it as ONNX; "
    "docs/export.md shows how to load a .pt2 of your own"
)
FORMATS: dict[str, Format] = {
    "onnx": Format(".onnx", onnx_file.write, onnx_file.read, is_program=True),
    "torch": Format(".pt2", torch_file.write, torch_file.read, is_program=True, refusal=REFUSAL),
    "safetensors": Format(".safetensors", safetensors_file.write, safetensors_file.read, is_program=False),
}
