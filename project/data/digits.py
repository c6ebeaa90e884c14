"""Scenes of handwritten digits, made from MNIST, for several tasks without another download.

N images, M digits in a scene, (H, W) size in pixels. Boxes are xyxy in pixels.
"""

from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torchvision import tv_tensors

from engine.contract.errors import UserError
from engine.data.augment import Varied, objects
from engine.data.cache import Cache, CacheMode, Planes, Spec, cache_bytes, wants_cache
from engine.data.samples import Sample, SampleStore, Size
from engine.data.store import ImageStore
from project.data.mnist import FromMNIST, MNISTDataModule

INK = 128  # lowest brightness of a digit's pixels in its box and its mask
MAX_COVERED = 0.15  # largest overlap of two boxes, as a share of the smaller one
TRIES = 20  # to place a digit, which is left out after that


class DigitsDataModule(FromMNIST):
    """Batches of grey scenes: several digits of several sizes, overlapping a little, on a textured ground.

    Targets are `boxes` (M, 4) and `labels` (M,) per image to detect, and a mask (N, H, W) to segment: 0 for the ground,
    the digit plus 1 elsewhere; for multilabel the digits that are there; to regress the number of digits and the height
    of the highest, in pixels.
    (scene_seed, split, index) determine a scene. Scenes for training, validation and test
    show different digits: MNIST's training images, held-out training images, and its test images.

    Args:
        root: folder that holds MNIST/raw/ with the four files, or will.
        download: fetch files that are missing or damaged; if false, they must be there.
        batch_size: images per batch and process.
        image_size: side of a scene in pixels.
        num_train: scenes for training.
        num_val: scenes for validation, 0 for none.
        num_test: scenes for the test.
        min_size: smallest height of a digit in pixels.
        max_size: largest height of a digit in pixels.
        max_digits: largest number of digits in a scene; the smallest is 1.
        val_digits: how many of MNIST's training images are held out for validation scenes.
        scene_seed: determines the scenes.
        zoom: training scenes are scaled by up to this share either way, at random.
        cache: keep scenes once made: auto (if memory allows), ram or none.
        num_workers: processes that load batches; with scenes in memory 0 is fastest.
        task: detect, segment, regress or multilabel.
        seed: determines the order of training and its augmentation.
    """

    tasks = ("segment", "detect", "regress", "multilabel")
    in_channels = 1
    mean = (0.25,)
    std = (0.25,)

    def __init__(
        self,
        root: str = "data",
        download: bool = True,
        batch_size: int = 32,
        image_size: int = 96,
        num_train: int = 12000,
        num_val: int = 500,
        num_test: int = 1000,
        min_size: int = 20,
        max_size: int = 48,
        max_digits: int = 5,
        val_digits: int = 5000,
        scene_seed: int = 0,
        zoom: float = 0.0,
        cache: CacheMode = "auto",
        num_workers: int = 0,
        task: Literal["segment", "detect", "regress", "multilabel"] = "detect",
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        if min(num_train, num_test, max_digits, val_digits) < 1 or num_val < 0:
            raise UserError(
                "digits needs 1 or more scenes for training and test, 0 or more for validation, and 1 or more digits, "
                f"got num_train {num_train}, num_val {num_val}, num_test {num_test}, max_digits {max_digits}, "
                f"val_digits {val_digits}"
            )
        if not 4 <= min_size <= max_size <= image_size:
            raise UserError(
                "a digit is at least 4 pixels high and at most as high as the image, "
                f"got min_size {min_size}, max_size {max_size}, image_size {image_size}"
            )
        if scene_seed < 0:
            raise UserError(f"scene_seed is 0 or more, got {scene_seed}")
        if not 0 <= zoom < 1:
            raise UserError(f"zoom is a share in [0, 1), got {zoom}")
        wants_cache(cache, 0)  # refuses an unknown value
        digits = tuple("0123456789")
        names = {"segment": ("ground", *digits), "detect": digits, "multilabel": digits, "regress": ("count", "height")}
        self.class_names = names.get(task, digits)  # `build_data` refuses other tasks
        self.image_size = (image_size, image_size)
        self.sizes = {"train": num_train, "val": num_val, "test": num_test}
        self.has_validation = num_val > 0
        self.digit_sizes = (min_size, max_size)
        self.max_digits = max_digits
        self.scene_seed = scene_seed
        self.zoom = zoom
        self.cache = cache
        self.task = task
        self._mnist = MNISTDataModule(root, download, val_size=val_digits if num_val else 0)

    def setup(self, stage: str) -> None:
        """Prepare to make scenes; `stage` is Lightning's: fit, validate, test or predict."""
        if self.stores:
            return
        try:
            self._mnist.setup(stage)
        except ValueError as error:
            raise UserError(f"val_digits must leave some of MNIST's training images to train on ({error})") from error
        for number, (split, num) in enumerate(self.sizes.items()):
            if not num:
                continue
            images = self._mnist.stores[split]
            assert isinstance(images, ImageStore)
            source = Scenes(images, num, (self.scene_seed, number), self.digit_sizes, self.max_digits, self.task)
            specs = source.specs(self.image_size)
            cache = Cache(num, specs) if wants_cache(self.cache, cache_bytes(num, specs)) else None
            varied = Varied(self.image_size, zoom=self.zoom) if split == "train" and self.zoom else None
            self.stores[split] = SampleStore(source, self.image_size, cache, varied, self.seed)

    def describe(self) -> str:
        sizes = ", ".join(f"{num:,} {split}" for split, num in self.sizes.items())
        side = self.image_size[0]
        return f"scenes of MNIST's digits, {side}x{side} pixels: {sizes}"


class Scenes:
    """Makes scenes: the source of a `SampleStore`.

    Args:
        digits: images of digits with their labels.
        num: number of scenes.
        seed: determines a scene, together with its index.
        sizes: smallest and largest height of a digit in pixels.
        max_digits: largest number of digits in a scene.
        task: detect, segment, regress or multilabel.
    """

    def __init__(
        self, digits: ImageStore, num: int, seed: tuple[int, ...], sizes: tuple[int, int], max_digits: int, task: str
    ) -> None:
        self.digits = digits
        self.num = num
        self.seed = seed
        self.sizes = sizes
        self.max_digits = max_digits
        self.task = task

    def __len__(self) -> int:
        return self.num

    def specs(self, size: Size) -> list[Spec]:
        """Return the specs of an image (1, H, W), a mask (H, W), and rows of box and label, padded with -1."""
        return [((1, *size), torch.uint8), (size, torch.uint8), ((self.max_digits, 5), torch.float32)]

    def sample(self, index: int, planes: Planes, size: Size) -> Sample:
        image, mask, rows = planes
        if self.task == "segment":
            return tv_tensors.Image(image), tv_tensors.Mask(mask)
        rows = rows[rows[:, 4] >= 0]
        if self.task == "multilabel":
            return tv_tensors.Image(image), torch.zeros(10).index_fill(0, rows[:, 4].long(), 1.0)
        if self.task == "regress":
            heights = rows[:, 3] - rows[:, 1]
            return tv_tensors.Image(image), torch.tensor([len(rows), max(heights.tolist(), default=0.0)])
        return tv_tensors.Image(image), objects(rows[:, :4], rows[:, 4].long(), size)

    def read(self, index: int, size: Size) -> Planes:
        generator = np.random.default_rng([*self.seed, index])
        scene = textured_ground(generator, size)
        mask = np.zeros(size, np.uint8)
        boxes: list[list[float]] = []
        labels: list[int] = []
        for _ in range(int(generator.integers(1, self.max_digits + 1))):
            number = int(generator.integers(len(self.digits)))
            ink = trimmed(self.digits.images[number, 0].numpy())
            high = int(generator.integers(self.sizes[0], self.sizes[1] + 1))
            wide = max(2, round(high * ink.shape[1] / ink.shape[0]))
            corner = self._room(generator, (high, min(wide, size[1])), size, boxes)
            if corner is None:
                continue
            top, left = corner
            drawn = np.asarray(Image.fromarray(ink).resize((min(wide, size[1]), high), Image.Resampling.BILINEAR))
            window = np.s_[top : top + drawn.shape[0], left : left + drawn.shape[1]]
            share = drawn.astype(np.float32) / 255
            scene[window] += share * (generator.uniform(180, 255) - scene[window])
            label = int(self.digits.targets[number])
            mask[window][drawn >= INK] = label + 1
            rows, columns = (np.flatnonzero((drawn >= INK).any(axis=axis)) for axis in (1, 0))
            if not len(rows):
                continue
            boxes.append([left + columns[0], top + rows[0], left + columns[-1] + 1.0, top + rows[-1] + 1.0])
            labels.append(label)
        table = np.full((self.max_digits, 5), -1, np.float32)
        if boxes:
            table[: len(boxes), :4], table[: len(boxes), 4] = boxes, labels
        image = scene.clip(0, 255).round().astype(np.uint8)
        return [torch.from_numpy(array) for array in (image[None], mask, table)]

    @staticmethod
    def _room(
        generator: np.random.Generator, shape: tuple[int, int], size: Size, boxes: list[list[float]]
    ) -> tuple[int, int] | None:
        """Return a random (top, left) at which a digit of `shape` = (H, W) overlaps others only slightly, or None."""
        high, wide = shape
        for _ in range(TRIES):
            top = int(generator.integers(size[0] - high + 1))
            left = int(generator.integers(size[1] - wide + 1))
            if all(_covered((left, top, left + wide, top + high), box) <= MAX_COVERED for box in boxes):
                return top, left
        return None


def textured_ground(generator: np.random.Generator, size: Size) -> np.ndarray:
    """Return a random ground (H, W) of float32 in 0..110: broad light and dark patches, and grain."""
    coarse = generator.integers(0, 91, (5, 5), dtype=np.uint8)
    patches = Image.fromarray(coarse).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    grain = generator.integers(0, 21, size, dtype=np.uint8)
    return np.asarray(patches, dtype=np.float32) + grain


def trimmed(digit: np.ndarray) -> np.ndarray:
    """Crop the empty border of a digit (h, w) of uint8."""
    rows, columns = (np.flatnonzero((digit >= INK // 2).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return digit
    return digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _covered(a: Any, b: Any) -> float:
    """Return the intersection of two boxes, as a share of the smaller one."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    return wide * high / min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
