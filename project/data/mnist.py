"""MNIST: 28 x 28 grey images of handwritten digits, ten classes."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from engine.contract.data import ImageDataModule, part_of
from engine.contract.errors import UserError
from engine.contract.place import home
from engine.data.store import ImageStore
from engine.inputs.images import jitter
from project.data.mnist_files import SHA256, idx_array, load_files

SPLIT_SEED = 0  # which training images are held out for validation; never changes, so that runs compare


class MNISTDataModule(ImageDataModule):
    """Batches `(images, labels)`: normalised float (N, 1, 28, 28) and int64 (N,), from MNIST's official files.

    Validation images are taken from the official training set; the official test set is only for testing. Images stay
    in memory as bytes (55 MB) and are normalised per batch, on the device.

    Args:
        root: folder that holds MNIST/raw/ with the four files, or will; a relative path starts at PROJECT_HOME, if set.
        download: fetch files that are missing or damaged; if false, they must be there.
        batch_size: images per batch and process.
        val_size: how many of the 60,000 training images are held out for validation, 0 for none.
        train_size: share of the other images to train on, the same ones in every epoch; above 1, their number.
        balance: train on images of each class equally often, drawn anew for each epoch; some then come several times.
        shift: training images are shifted by up to this many pixels along each axis, at random.
        rotate: training images are rotated by up to this many degrees either way, at random.
        zoom: training images are scaled by up to this share either way, at random.
        num_workers: processes that load batches; with images in memory 0 is fastest.
        seed: determines the order of training and its augmentation.
    """

    tasks = ("classify",)
    in_channels = 1
    image_size = (28, 28)
    class_names = tuple("0123456789")
    mean = (0.1307,)
    std = (0.3081,)
    sums: ClassVar[Mapping[str, str]] = SHA256  # of the four files

    def __init__(
        self,
        root: str = "data",
        download: bool = True,
        batch_size: int = 250,
        val_size: int = 5000,
        train_size: float = 1.0,
        balance: bool = False,
        shift: float = 0.0,
        rotate: float = 0.0,
        zoom: float = 0.0,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        if val_size < 0:
            raise UserError(f"val_size must be 0 or more, got {val_size}")
        if min(shift, rotate, zoom) < 0 or shift > 14 or rotate > 180 or zoom >= 1:
            raise UserError(
                "augmentation is 0 to 14 pixels of shift, 0 to 180 degrees of rotate and a zoom in [0, 1), "
                f"got shift {shift}, rotate {rotate}, zoom {zoom}"
            )
        self.root = home() / root
        self.download = download
        self.val_size = val_size
        self.train_size = train_size
        self.balance = balance
        self._files: dict[str, bytes] = {}  # read by prepare_data, in the process that calls it
        self.has_validation = val_size > 0
        self.shift, self.rotate, self.zoom = shift, rotate, zoom

    def prepare_data(self) -> None:
        """Fetch the files if necessary; Lightning calls this in one process of each machine.

        Raises:
            FileNotFoundError: the files could not be fetched; names them and their folder.
        """
        if not self.stores:
            self._files = load_files(self.root, self.download, self.sums)

    def setup(self, stage: str) -> None:
        """Read the files into `stores`; `stage` is Lightning's: fit, validate, test or predict."""
        if self.stores:
            return
        files = self._files or load_files(self.root, download=False, sums=self.sums)
        self._files = {}  # not kept: the images are in the stores now
        train, test = (_store(files, prefix) for prefix in ("train", "t10k"))
        if self.val_size >= len(train):
            raise UserError(f"val_size must be below the {len(train):,} training images, got {self.val_size:,}")
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(SPLIT_SEED))
        rest = order[self.val_size :]
        self.stores["train"] = train.subset(rest[: part_of(len(rest), self.train_size)])
        if self.val_size:
            self.stores["val"] = train.subset(order[: self.val_size])
        self.stores["test"] = test

    def augment(self, images_u8: Tensor, generator: torch.Generator) -> Tensor:
        if self.shift or self.rotate or self.zoom:
            return jitter(images_u8, generator, self.shift, self.rotate, self.zoom)
        return images_u8


class FromMNIST(ImageDataModule):
    """Batches made from MNIST's images: the constructor of a subclass sets `_mnist`, which fetches the files."""

    _mnist: MNISTDataModule

    def prepare_data(self) -> None:
        """Fetch MNIST's files if necessary; Lightning calls this in one process of each machine.

        Raises:
            FileNotFoundError: the files could not be fetched; names them and their folder.
        """
        if not self.stores:
            self._mnist.prepare_data()


def _store(files: dict[str, bytes], prefix: str) -> ImageStore:
    images = torch.from_numpy(idx_array(files[f"{prefix}-images-idx3-ubyte"]).copy()).unsqueeze(1)  # (N, 1, 28, 28)
    labels = torch.from_numpy(idx_array(files[f"{prefix}-labels-idx1-ubyte"]).astype("int64"))
    return ImageStore(images, labels)
