"""The base of all data modules: loaders in a known order, preparation on the device, a position to resume from.

N images, C channels, (H, W) size in pixels.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from engine.contract.errors import UserError
from engine.contract.input import Input
from engine.contract.registry import brief, is_count
from engine.data import workers
from engine.data.balance import balanced_weights
from engine.data.mixing import mixed
from engine.data.sampler import EpochBatchSampler, mix, spread
from engine.data.samples import SampleStore
from engine.data.store import collate
from engine.inputs.image_input import ImageInput
from engine.inputs.letterbox import IGNORE as IGNORE
from engine.machine import available_cores
from engine.resume.lightning_internals import batches_begun, batches_begun_in_all, epochs_begun_and_ended

COUNTED = 1000  # largest number of samples read to count classes
Batch = tuple[Tensor, Any]


def part_of(num_images: int, train_size: float) -> int:
    """Return how many training images `train_size` keeps: it is a share in (0, 1], or a number above 1.

    Raises:
        UserError: it keeps none, or more than there are.
    """
    kept = round(num_images * train_size) if train_size <= 1 else int(train_size)
    if not 1 <= kept <= num_images or (train_size > 1 and kept != train_size):
        raise UserError(
            f"train_size is a share, up to 1, or a number of the {num_images:,} training images, got {train_size:g}"
        )
    return kept


class DataModule(pl.LightningDataModule):
    """Batches `(inputs, targets)` for training, validation and test, the same ones after a resume.

    After construction, a subclass has `tasks`, `input` and `class_names`, and sets `has_training`, `has_validation` or
    `has_test` to false if it lacks that split. It fills `stores` (keys 'train', 'val', 'test') in `setup`, and may
    override `augment`, which augments a whole raw batch on its device; a `SampleStore` augments samples one by one.

    `tasks` names the tasks that its batches are for, which determine the targets:
        classify: classes (N,) int64.
        segment: masks (N, H, W) int64 of classes, 255 for pixels to ignore.
        detect: for each image a mapping of `boxes` (M, 4) xyxy in pixels and `labels` (M,) int64; M may be 0.
        translate: images (N, K, H, W) in [0, 1] with K channels, which `class_names` names.
        regress: numbers (N, K) float32, which `class_names` names.
        multilabel: for each class 1 if an image shows it, else 0: (N, K) float32.

    Args:
        batch_size: images per batch and process.
        num_workers: processes that load batches, 0 for none; for data in memory 0 is faster.
        seed: determines the order of training and its augmentation.

    Raises:
        UserError: `batch_size` or `num_workers` is out of range.
    """

    tasks: tuple[str, ...]
    class_names: tuple[str, ...]
    has_training: bool = True
    has_validation: bool = True
    has_test: bool = True

    def __init__(self, batch_size: int, num_workers: int, seed: int) -> None:
        super().__init__()
        if batch_size < 1:
            raise UserError(f"batch_size must be 1 or more, got {batch_size}")
        if num_workers < 0:
            raise UserError(f"num_workers must be 0 or more, got {num_workers}")
        if num_workers > (max_workers := max(64, 8 * available_cores())):
            raise UserError(f"num_workers {num_workers} is more than this machine can serve: use at most {max_workers}")
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.notes: list[str] = []  # remarks on the data that a run prints
        self.stores: dict[str, Any] = {}  # an ImageStore or a SampleStore each
        self.mixup = self.cutmix = 0.0  # mixes training batches: see engine.data.mixing
        self.balance = False  # whether training draws every class equally often
        self.timeout_seconds = 0.0  # longest time that a worker may take for a batch; 0 for no limit
        self._resume_epoch = 0
        self._resume_batches = 0

    @property
    def input(self) -> Input:
        """The input whose `prepare` prepares the batches."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """Return the data's values for a task's constructor, by parameter."""
        return {"class_names": self.class_names, **self.input.values()}

    def class_counts(self) -> Tensor:
        """Return how often each class occurs in the training data (K,).

        Images or objects count if known without reading; else the pixels or objects of at most COUNTED samples.
        """
        store = self.stores["train"]
        counts = torch.zeros(len(self.class_names), dtype=torch.int64)
        if store.labels is not None:
            return counts + store.labels.bincount(minlength=len(counts))
        if (boxes := getattr(getattr(store, "source", None), "boxes", None)) is not None:
            return counts + boxes.values[:, 4].long().bincount(minlength=len(counts))
        for index in spread(COUNTED, len(store)):
            target = store.read(index)[1]
            labels = target["labels"] if isinstance(target, Mapping) else target.flatten()
            counts += labels.as_subclass(Tensor).long()[labels != IGNORE].bincount(minlength=len(counts))
        return counts

    def target_statistics(self) -> tuple[list[float], list[float]]:
        """Return the mean and the standard deviation of each number of the targets (K,) over the training data.

        All images count if their numbers are known without reading; else at most COUNTED of them.

        Raises:
            UserError: a number is the same for all images, or not finite.
        """
        store = self.stores["train"]
        numbers = store.numbers
        if numbers is None:
            numbers = torch.stack([store.read(index)[1] for index in spread(COUNTED, len(store))])
        for name, own in zip(self.class_names, numbers.unbind(dim=1), strict=True):
            if not own.isfinite().all():
                raise UserError(f"{name} is not a finite number in all training {self.input.word}")
            if (own == own[0]).all():
                raise UserError(
                    f"{name} is {float(own[0]):g} in all training {self.input.word}: there is nothing to learn; "
                    "leave it out, or give others"
                )
        mean, std = numbers.double().mean(dim=0), numbers.double().std(dim=0, correction=0)
        return mean.tolist(), std.tolist()

    def describe(self) -> str:
        """Return a line with the data's name and the size of each split."""
        sizes = ", ".join(f"{len(self.stores[stage]):,} {stage}" for stage in self.stores)
        return f"{type(self).__name__.removesuffix('DataModule')}: {sizes or 'not read yet'}"

    def augment(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Return an augmented raw training batch (N, ...), drawing only from `generator` (on the CPU)."""
        return raw

    def prepare(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """Return a raw batch prepared for a network; with a generator, augmented as in training."""
        raw, targets = batch
        prepared = self.input.prepare(raw if generator is None else self.augment(raw, generator))
        if generator is not None and (self.mixup or self.cutmix):
            prepared, targets = mixed(prepared, targets, len(self.class_names), self.mixup, self.cutmix, generator)
        if isinstance(targets, Tensor) and targets.dtype == torch.uint8:  # uint8 was smaller to transfer
            is_mask = targets.ndim == 3
            targets = targets.long() if is_mask else targets.float() / 255
        return prepared, targets

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment (in training only) and prepare a raw batch on its device."""
        generator = None
        if self.trainer is not None and self.trainer.training:
            # Each step and process has its own random stream, so a resumed run draws the same numbers.
            step = batches_begun_in_all(self.trainer)
            generator = torch.Generator().manual_seed(mix(self.seed, step, self.trainer.global_rank))
        prepared, targets = self.prepare(batch, generator)
        # In --precision 64, bf16-true and the like the network's dtype is not float32.
        return prepared if self.trainer is None else self.trainer.precision_plugin.convert_input(prepared), targets

    def train_dataloader(self) -> DataLoader[Batch]:
        sampler = self._sampler(
            "train", shuffle=self.trainer is None or not getattr(self.trainer, "overfit_batches", 0)
        )
        # Workers prefetch before Lightning announces the epoch, so the sampler must know it from the start.
        sampler.set_epoch(self._resume_epoch)
        sampler.skip_once(self._resume_batches)
        return self._loader("train", sampler)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        return self._loader("val", self._sampler("val")) if self.has_validation else []

    def predict_dataloader(self) -> DataLoader[Batch] | list[Any]:
        return self.test_dataloader() if self.has_test else self.val_dataloader()

    def test_dataloader(self) -> DataLoader[Batch] | list[Any]:
        return self._loader("test", self._sampler("test")) if self.has_test else []

    def _sampler(self, stage: str, shuffle: bool = False) -> EpochBatchSampler:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        store = self.stores[stage]
        varied = isinstance(store, SampleStore) and store.augment is not None
        weights = None
        if self.balance and stage == "train":
            if not shuffle:
                raise UserError(
                    "balance draws images, and --overfit_batches takes the first ones: leave out one of them"
                )
            weights = self._balanced(store)
        return EpochBatchSampler(len(store), self.batch_size, shuffle, self.seed, rank, world_size, varied, weights)

    def _balanced(self, store: Any) -> Tensor:
        """Return the relative probability of each training sample (N,); each mask is read once for it."""
        if store.labels is not None:
            return 1 / store.labels.bincount()[store.labels].double()
        if not hasattr(store.source, "classes"):
            raise UserError("balance is for images with classes")
        with ThreadPoolExecutor(available_cores()) as pool:
            return balanced_weights(list(pool.map(store.source.classes, range(len(store)))), len(self.class_names))

    def _loader(self, stage: str, sampler: EpochBatchSampler) -> DataLoader[Batch]:
        return DataLoader(
            self.stores[stage],
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            multiprocessing_context=workers.context() if self.num_workers else None,
            worker_init_fn=workers.begin,
            timeout=self.timeout_seconds if self.num_workers else 0,
            pin_memory=torch.cuda.is_available(),
        )

    def smallest_batch(self, world_size: int) -> int:
        """Return the number of images in the smallest training batch of a process."""
        return self._sampler_of(world_size).smallest_batch

    def _sampler_of(self, world_size: int) -> EpochBatchSampler:
        return EpochBatchSampler(len(self.stores["train"]), self.batch_size, world_size=world_size)

    def state_dict(self) -> dict[str, Any]:
        """Return the training's position: the epoch to continue in, and the number of its batches already used."""
        assert self.trainer is not None
        begun, done = epochs_begun_and_ended(self.trainer)
        taken = batches_begun(self.trainer)
        of = self.trainer.num_training_batches
        ended = done == begun or taken >= of  # max_steps can end an epoch at any batch
        where = {"epoch": begun, "batches": 0} if ended else {"epoch": begun - 1, "batches": taken}
        images = len(self.stores["train"])
        return {**where, "of": of, "images": images, "processes": self.trainer.world_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resume_epoch = state_dict["epoch"]
        self._resume_batches = state_dict["batches"]

    def check_position(self, state_dict: dict[str, Any], world_size: int, limit: float | None) -> None:
        """Refuse a saved position within an epoch that now has another number of images or batches.

        Args:
            state_dict: a saved position.
            world_size: number of processes that share the data.
            limit: Lightning's limit_train_batches.

        Raises:
            UserError: the position is invalid, or the numbers differ.
        """
        for name in ("epoch", "batches", "of"):
            if not is_count(state_dict.get(name)):
                raise UserError(f"its position in the data has {name} {brief(state_dict.get(name))}")
        whole = len(self._sampler_of(world_size))
        now = whole if limit is None else min(limit, whole) if isinstance(limit, int) else int(whole * limit)
        images = len(self.stores["train"])
        if state_dict["batches"] and images != state_dict.get("images", images):
            raise UserError(
                f"the run stopped within an epoch of {state_dict['images']:,} training images, and there are now "
                f"{images:,}: resume with the same images"
            )
        if state_dict["batches"] and now != state_dict["of"]:
            raise UserError(
                f"the run stopped after {state_dict['batches']} of an epoch's {state_dict['of']} batches, and an epoch "
                f"now has {now}: resume with the same number of images per step, --data.batch_size times processes"
            )


class ImageDataModule(DataModule):
    """Batches of normalised images (N, C, H, W): see `DataModule`.

    After construction, a subclass has `tasks`, `in_channels`, `image_size`, `class_names`, `mean` and `std`; and, for
    translation, `upscale`: the factor by which sources were enlarged by repeating pixels, 1 if they were not.
    """

    in_channels: int
    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    upscale: int = 1

    @property
    def input(self) -> ImageInput:
        return ImageInput(self.in_channels, self.image_size, self.mean, self.std)

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "upscale": self.upscale}
