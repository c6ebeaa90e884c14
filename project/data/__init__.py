"""Data modules: batches of images for a task, and the numbers a model needs to know about them."""

from collections.abc import Callable
from typing import Any

from project.data.base import ImageDataModule
from project.data.mnist import MNISTDataModule
from project.registry import check_options, look_up

DATA: dict[str, Callable[..., ImageDataModule]] = {
    "mnist": MNISTDataModule,
}


def build_data(name: str, seed: int, **options: Any) -> ImageDataModule:
    """Build a data module by name; `seed` determines the order of training and its augmentation.

    Raises:
        ValueError: no such data module, or an option or value that it does not take.
    """
    builder = look_up("data", name, DATA)
    check_options(f"data {name}", options, builder, ("seed",))
    return builder(seed=seed, **options)
