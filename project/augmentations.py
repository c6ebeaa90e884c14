"""Augmentations by name: `--data.augment NAME` applies one to each training sample of a folder.

Your own is a function of an image and its target, in torchvision's tv_tensors, and an entry below. The image is uint8
(C, H, W), already zoomed and mirrored. The target is a class number, a `Mask`, an `Image`, or a mapping of `boxes` and
`labels`; transforms of `torchvision.transforms.v2` change image and target together. Use only torch's global random
numbers: they are seeded for each sample and epoch, so that a resumed run draws the same.
"""

from collections.abc import Callable
from typing import Any

from torchvision import tv_tensors
from torchvision.transforms import v2

from engine.contract.errors import UserError
from engine.inputs.letterbox import IGNORE


class OfImages:
    """Changes only the image. For classes only, as masks and boxes would not move with it."""

    def __init__(self, transform: Callable[[Any], Any]) -> None:
        self.transform = transform

    def __call__(self, image: Any, target: Any) -> Any:
        if isinstance(target, (dict, tv_tensors.TVTensor)):
            raise UserError(
                f"augment: {type(self.transform).__name__} changes images only, so it is for images of one class each"
            )
        return self.transform(image), target


def turn(image: Any, target: Any) -> Any:
    """Rotate an image by up to 15 degrees either way, with its mask or boxes."""
    return v2.RandomRotation(15, fill={tv_tensors.Mask: IGNORE, "others": 0})(image, target)


AUGMENTATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "auto": OfImages(v2.AutoAugment()),  # Cubuk et al. 2019, arXiv:1805.09501
    "rand": OfImages(v2.RandAugment()),  # Cubuk et al. 2020, arXiv:1909.13719
    "trivial": OfImages(v2.TrivialAugmentWide()),  # Müller and Hutter 2021, arXiv:2103.10158
    "augmix": OfImages(v2.AugMix()),  # Hendrycks et al. 2020, arXiv:1912.02781
    "turn": turn,
}
