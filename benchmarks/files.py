"""Reading user files: our loader's speed and memory, against a loop that only decodes.

(H, W) is a size in pixels.
"""

import os
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import project  # noqa: F401, it hands its tasks, backbones, heads and data to the engine
from engine.contract.parts import build_data
from engine.inputs.folder import find_images
from engine.training.summary import peak_memory_mb

PHOTOGRAPH = (375, 500)  # (H, W), as for most of ImageNet
CLASSES = 10
DIFFERENT = 200  # distinct photographs; further files are links to them
IMAGE_SIZE = 224
BATCH = 32
WARM_UP = 4  # batches, while workers start


def write_photographs(folder: Path, num: int) -> None:
    """Write `num` JPEG files into class folders: shapes and grain that take as long to decode as photographs."""
    generator = np.random.default_rng(0)
    for i in range(CLASSES):
        (folder / f"class {i}").mkdir(parents=True)
    first: list[Path] = []
    for i in range(num):
        path = folder / f"class {i % CLASSES}" / f"{i}.jpg"
        if i >= DIFFERENT:
            os.link(first[i % DIFFERENT], path)
            continue
        shapes = Image.fromarray(generator.integers(0, 255, (12, 16, 3), dtype=np.uint8))
        pixels = np.asarray(shapes.resize(PHOTOGRAPH[::-1], Image.Resampling.BICUBIC), dtype=np.int16)
        grain = generator.integers(-12, 13, (*PHOTOGRAPH, 3), dtype=np.int16)
        Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8)).save(path, quality=90)
        first.append(path)


def our_files(folder: str, workers: int, batches: int) -> dict[str, float]:
    """Return images per second from our training loader (decoded, letterboxed, augmented, in batches, without a cache).

    And this process's peak memory in MiB.
    """
    options: dict[str, Any] = {"image_size": [IMAGE_SIZE], "batch_size": BATCH, "cache": "none"}
    data = build_data(folder, "classify", 0, num_workers=workers, **options)
    data.setup("fit")
    rate = _rate(iter(data.train_dataloader()), batches)
    return {"images_per_second": rate, "peak_memory_mb": peak_memory_mb(torch.device("cpu"))}


def bare_files(folder: str, workers: int, batches: int) -> dict[str, float]:
    """Return images per second from a loop that decodes each file and discards the result."""
    dataset = Decoded(find_images([folder]))
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=workers)
    return {"images_per_second": _rate(iter(loader), batches)}


class Decoded(Dataset[int]):
    """Decodes a file on access, and returns only its width."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> int:
        with Image.open(self.paths[index]) as file:
            return file.convert("RGB").width


def _rate(loaded: Any, batches: int) -> float:
    for _ in islice(loaded, WARM_UP):
        pass
    start = time.perf_counter()
    count = sum(1 for _ in islice(loaded, batches))
    return count * BATCH / (time.perf_counter() - start)
