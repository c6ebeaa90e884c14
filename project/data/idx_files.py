"""Images from a folder of four IDX files named like MNIST's, such as Fashion-MNIST's."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from engine.contract.errors import UserError
from engine.inputs.reading import read_bytes
from project.data.mnist import MNISTDataModule
from project.data.mnist_files import SHA256, gunzip, idx_array

LARGEST = 2**31  # bytes of a file


class IDXDataModule(MNISTDataModule):
    """Batches `(images, labels)`: normalised float (N, 1, H, W) and int64 (N,), from IDX files like MNIST's.

    Args:
        path: folder of the four files, gzipped or not.
        batch_size: images per batch and process.
        val_size: share of the training images held out for validation.
        train_size: share of the other images to train on, the same ones in every epoch; above 1, their number.
        balance: train on images of each class equally often, drawn anew for each epoch; some then come several times.
        classes: names of the labels, from 0 on; by default their numbers.
        shift: training images are shifted by up to this many pixels along each axis, at random.
        rotate: training images are rotated by up to this many degrees either way, at random.
        zoom: training images are scaled by up to this share either way, at random.
        num_workers: processes that load batches; with images in memory 0 is fastest.
        seed: determines the order of training and its augmentation.

    Raises:
        UserError: a file is not an IDX file of bytes, or images and labels do not match; names it.
    """

    @staticmethod
    def reads(path: Path) -> bool:
        """Whether a folder has the files, gzipped or not."""
        return all(any((path / f"{name}{end}").is_file() for end in ("", ".gz")) for name in SHA256)

    def __init__(
        self,
        path: str,
        batch_size: int = 250,
        val_size: float = 0.1,
        train_size: float = 1.0,
        balance: bool = False,
        classes: list[str] | None = None,
        shift: float = 0.0,
        rotate: float = 0.0,
        zoom: float = 0.0,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        path = str(Path(path).expanduser())
        super().__init__(
            path,
            download=False,
            batch_size=batch_size,
            val_size=0,
            train_size=train_size,
            balance=balance,
            shift=shift,
            rotate=rotate,
            zoom=zoom,
            num_workers=num_workers,
            seed=seed,
        )
        if not 0 <= val_size < 1:
            raise UserError(f"val_size is a share of the images, 0 or more and below 1, got {val_size}")
        self._files = {name: _content(Path(path) / name) for name in SHA256}
        arrays = {name: _decoded(Path(path) / name, content) for name, content in self._files.items()}
        for prefix in ("train", "t10k"):
            images, labels = arrays[f"{prefix}-images-idx3-ubyte"], arrays[f"{prefix}-labels-idx1-ubyte"]
            if images.ndim != 3 or labels.shape != images.shape[:1] or not images.size:
                shapes = f"{images.shape} and {labels.shape}"
                raise UserError(f"{path}: the {prefix} files hold {shapes}: expected (N, H, W) images and (N,) labels")
        num = 1 + max(int(arrays[f"{prefix}-labels-idx1-ubyte"].max()) for prefix in ("train", "t10k"))
        if classes is not None and len(classes) < num:
            raise UserError(f"classes lists {len(classes)}, but the labels in {path} are 0 to {num - 1}: list them all")
        pixels = arrays["train-images-idx3-ubyte"]
        self.class_names = tuple(classes or map(str, range(num)))
        self.image_size = (pixels.shape[1], pixels.shape[2])
        self.val_size = round(val_size * len(pixels))
        self.has_validation = self.val_size > 0
        counts = np.bincount(pixels.ravel(), minlength=256) / pixels.size
        values = np.arange(256) / 255
        mean = float(counts @ values)
        self.mean, self.std = (mean,), (max(float(counts @ (values - mean) ** 2) ** 0.5, 1 / 255),)

    def prepare_data(self) -> None:
        """Do nothing: the constructor has read the files, since the network depends on their content."""


def _content(path: Path) -> bytes:
    try:
        if path.exists():
            return read_bytes(path, LARGEST)
        return gunzip(read_bytes(path.with_name(f"{path.name}.gz"), LARGEST))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}.gz cannot be unpacked ({error})") from error


def _decoded(path: Path, content: bytes) -> np.ndarray:
    try:
        return idx_array(content)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
