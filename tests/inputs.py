"""Inputs for tests of networks."""

from collections.abc import Sequence

from engine.inputs.image_input import ImageInput


def image_input(channels: int = 1, size: Sequence[int] = (28, 28)) -> ImageInput:
    return ImageInput(channels, size, mean=(0.5,) * channels, std=(0.25,) * channels)
