"""What an exported file of a task promises."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from engine.config.arguments import TOLERANCE
from engine.export.command import Comparison
from engine.export.formats import FORMATS
from engine.inference.model import of_task
from engine.testing.tasks import SIZE, build_small


def check_export(name: str, kind: str, **options: Any) -> None:
    """Try whether a task's exported file, `kind` onnx, torch or safetensors, answers as it does.

    In batches of any number; and images of any size, for a task that takes them.

    Raises:
        AssertionError: it does not.
        RunError: its numbers differ by more than the tolerance.
    """
    task = build_small(name, **options).eval()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / f"a{FORMATS[kind].suffix}"
        for weight in task.head.parameters():  # so that there is something to be seen in noise
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(5)), alpha=0.1)
        FORMATS[kind].write(task, torch.zeros(2, 3, *SIZE, dtype=torch.uint8), path)
        original, exported = of_task(task, "cpu"), FORMATS[kind].read(path, "cpu")
        for number, size in ((1, SIZE), (3, SIZE), *([(2, (37, 51))] if task.takes_any_size else [])):
            images = torch.randint(0, 256, (number, 3, *size), dtype=torch.uint8)
            expected, found = original.outputs(images), exported.outputs(images)
            assert list(found) == list(expected) and all(len(value) == number for value in found.values())
            assert all(value.any() for value in expected.values())
            comparison = Comparison(original, exported, TOLERANCE)
            comparison.add(images)
            comparison.check()
            answers = [task.answers(outputs, [(20, 24)] * number)[0] for outputs in (expected, found)]
            words = [answered.rows(answer) for answered, answer in zip((task, exported.task), answers, strict=True)]
            assert [row.keys() for row in words[1]] == [row.keys() for row in words[0]]
