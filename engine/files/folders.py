"""User images, by the path of their folder."""

import functools
import itertools
import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from engine.contract.data import Batch, ImageDataModule, part_of
from engine.contract.errors import UserError
from engine.contract.parts import parts
from engine.contract.registry import look_up
from engine.data.augment import Varied
from engine.data.cache import Cache, CacheMode, cache_bytes, wants_cache
from engine.data.crops import OwnSize, TileStore
from engine.data.own_augmentation import OwnAugmentation
from engine.data.sampler import EpochBatchSampler
from engine.data.samples import SampleStore
from engine.files.known_files import Known, hashes, known_files
from engine.files.layouts import recognise
from engine.files.listing import KINDS, Kind, Layout, Listing
from engine.inputs.image_input import MAX_PIXELS
from engine.inputs.images import vary_colour
from engine.machine import available_cores

SPLIT_SEED = 0  # which images are held out; never changes, so that runs compare
IMAGE_SIZE = 224  # pixels per side, by default
LARGEST_CROP = math.isqrt(MAX_PIXELS)
MAX_WORKERS = 8  # workers of each training process
STATISTICS = {  # ImageNet's mean and std, which pretrained networks expect, by the number of channels
    1: ((0.449,), (0.226,)),
    3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
COLOURS = {1: ("grey",), 3: ("red", "green", "blue")}
SIDES = (("left", "right"), ("l", "r"), ("links", "rechts"), ("gauche", "droite"), ("izquierda", "derecha"))


class FolderDataModule(ImageDataModule):
    """Batches of the images in a folder, whose layout is recognised: see `engine.files.layouts`.

    Batches are `(images, targets)`: normalised float (N, C, H, W), and the task's targets: classes (N,), masks
    (N, H, W), a list of boxes and labels, or target images (N, K, H, W). Images are letterboxed to one size; training
    samples are augmented one by one.

    Args:
        path: the folder.
        task: the task of its images: classify, segment, detect or translate.
        image_size: size in pixels to which images are letterboxed: one number for a square, or height and width. By
            default 224, or crop.
        crop: train on random parts of the images with this side in pixels, at full resolution, and validate and test
            on all parts; for large pictures with masks, boxes or target images.
        batch_size: images per batch and process.
        channels: 3 for colour, 1 for grey.
        target_channels: the same for target images, to translate; by default as many as channels.
        val_size: share of the training images held out for validation, if the folder has no split for it.
        test_size: share of the training images held out for testing, if the folder has no split for it. 1, with a
            val_size of 0, tests on all images of a folder without splits.
        fold: test on one of several equal parts of the images, such as 2/5, the second of five; for a folder without
            splits. The parts are the same ones in every run, and val_size is held out of the others.
        train_size: share of the other images to train on, the same ones in every epoch; above 1, their number.
        classes: the classes in the order of their numbers, if not the folder's own order.
        ignore: a class of masks to ignore, like 255: its number, name, or colour as in '0 0 0'.
        labels: a CSV file with the columns file and label, for classification. By default labels.csv in the folder.
        balance: train on rare classes as often as on common ones: images are drawn anew for each epoch, by the inverse
            frequency of the rarest class in each. Some then come several times, and some not at all.
        flip: mirror half of the training images left to right.
        zoom: training images are scaled by up to this share either way, at random.
        colour: training images change in brightness, contrast and saturation by up to this share, at random. By
            default 0.2, and 0 to translate, where only the source changes.
        augment: apply an augmentation to training samples, by its name in project/augmentations.py: auto, rand,
            trivial, augmix, or one of your own.
        erase: share of the training images in which a part is erased.
        mixup: mix training images of two classes with soft targets: 0.2 is common, 0 for none. For classification only.
        cutmix: put a part of one training image into another, with soft targets: 1 is common, 0 for none. For
            classification only.
        mosaic: share of the training images that are joined from four, for detection only; by default 0.5, and 0 with
            crop.
        mosaic_until: share of the epochs after which no images are joined.
        cache: keep decoded images in memory: ram (always), none (never) or auto (if memory allows).
        num_workers: processes that load batches; by default one per core, up to 8.
        seed: determines the order of training and its augmentation.
        known: a checkpoint's entry about its files, which stay in their splits.

    Raises:
        UserError: the folder does not exist, is not for this task, holds a mistake, or an option is wrong.
    """

    @staticmethod
    def reads(path: Path) -> bool:
        """Whether this module reads a folder: always, as it is tried last."""
        return True

    def __init__(
        self,
        path: str,
        task: str,
        image_size: Sequence[int] | None = None,
        crop: int | None = None,
        batch_size: int = 32,
        channels: int = 3,
        target_channels: int | None = None,
        val_size: float = 0.2,
        test_size: float = 0.0,
        fold: str | None = None,
        train_size: float = 1.0,
        classes: list[str] | None = None,
        ignore: int | str | None = None,
        labels: str | None = None,
        balance: bool = False,
        flip: bool = True,
        zoom: float = 0.25,
        colour: float | None = None,
        augment: str | None = None,
        erase: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        mosaic: float | None = None,
        mosaic_until: float = 0.85,
        cache: CacheMode = "auto",
        num_workers: int | None = None,
        seed: int = 0,
        known: Known | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers or 0, seed)
        targets = KINDS.get(task, Kind())
        if crop is not None and not 2 <= crop <= LARGEST_CROP:
            raise UserError(f"crop is the side of a part in pixels, 2 to {LARGEST_CROP:,}, got {crop}")
        if crop is not None and not (targets.unit or targets.is_image):
            raise UserError(f"crop is for masks, boxes and target images, and the task is {task}: leave it out")
        if crop is not None and cache == "ram":
            raise UserError(
                "cache ram keeps images of one size, and with crop they keep their own: leave one of them out"
            )
        image_size = (crop or IMAGE_SIZE,) if image_size is None else image_size
        if len(image_size) not in (1, 2) or min(image_size) < 2:
            raise UserError(
                f"image_size is one number of pixels, or height and width, 2 or more, got {list(image_size)}"
            )
        if channels not in STATISTICS:
            raise UserError(f"channels is 1 for grey or 3 for colour, got {channels}")
        if target_channels is not None and not targets.is_image:
            raise UserError(f"target_channels is for target images, and the task is {task}: leave it out")
        if target_channels not in (None, *STATISTICS):
            raise UserError(f"target_channels is 1 for grey or 3 for colour, got {target_channels}")
        if not (val_size >= 0 and test_size >= 0 and val_size + test_size < 1) and (val_size, test_size) != (0, 1):
            raise UserError(
                f"val_size and test_size are shares of the images, together below 1, got {val_size} and {test_size}"
            )
        if fold is not None and test_size:
            raise UserError(f"fold {fold} chooses the test images: leave test_size {test_size} out")
        if mosaic and targets.mosaic is None:
            raise UserError(f"mosaic is for boxes, and the task is {task}: leave it out")
        if not all(0 <= share <= 1 for share in (zoom / 3, colour or 0.0, mosaic or 0.0, mosaic_until)):
            raise UserError(
                "zoom is from 0 to 3, and colour, mosaic and mosaic_until are from 0 to 1, "
                f"got zoom {zoom}, colour {colour}, mosaic {mosaic}, mosaic_until {mosaic_until}"
            )
        if not 0 <= erase <= 1 or not all(0 <= alpha < math.inf for alpha in (mixup, cutmix)):
            raise UserError(
                f"erase is from 0 to 1, and mixup and cutmix are 0 or more, got erase {erase}, mixup {mixup}, "
                f"cutmix {cutmix}"
            )
        if (mixup or cutmix) and not targets.is_class:
            raise UserError(f"mixup and cutmix are for images of one class each, and the task is {task}")
        self.mixup, self.cutmix, self.erase = mixup, cutmix, erase
        own = None if augment is None else look_up("augmentation", augment, parts().augmentations)
        if balance and (targets.is_numbers or targets.is_image):
            raise UserError(f"balance is for images with classes, and the task is {task}: leave it out")
        self.balance = balance
        wants_cache(cache, 0)  # refuses an unknown value
        self.path = path
        self.image_size = (image_size[0], image_size[-1])
        self.in_channels = channels
        self.mean, self.std = STATISTICS[channels]
        self.flip, self.zoom = flip, zoom
        self.colour = targets.colour if colour is None else colour
        self.crop = crop
        # Four large pictures take four times as long to read, and their parts vary already.
        self.mosaic = (targets.mosaic or 0.0 if crop is None else 0.0) if mosaic is None else mosaic
        self.mosaic_until = mosaic_until
        self.cache = cache
        self._chooses_workers = num_workers is None
        self._caches_made = False

        self.layout = recognise(Path(path), classes, task=task, ignore=ignore, labels=labels)
        self.layout.check()
        self.tasks = (task,)
        self.target_channels = target_channels or channels
        self.class_names = self.layout.class_names or COLOURS[self.target_channels]
        self.own = None if own is None else OwnAugmentation(str(augment), own, len(self.class_names))
        self.notes = self.layout.notes
        if crop is not None:
            self.notes.append(
                f"validation and test are on all parts of {crop} x {crop} pixels, each counted as an image"
            )
        if flip and (sides := told_by_side(self.class_names)):
            self.notes.append(
                f"mirroring turns class {sides[0]} into {sides[1]}, and half of the training images are mirrored: "
                "use --data.flip false"
            )
        self.listed, self._how_split = held_out(
            self.layout, val_size, test_size, known, None if fold is None else parse_fold(fold)
        )
        self.listings = dict(self.listed)
        if train_size != 1 and "train" in self.listed:
            self.listings["train"] = part_for_training(self.listed["train"], train_size)
            num, kept = len(self.listed["train"]), len(self.listings["train"])
            self._how_split += f", {kept:,} of {num:,} for training"
        self.layout.splits = self.listings  # frees the names of images left out
        self.has_training = "train" in self.listings
        self.has_validation, self.has_test = "val" in self.listings, "test" in self.listings

    @functools.cached_property
    def files(self) -> dict[str, dict[str, Any]]:
        """The entry about the files in a checkpoint; see `engine.files.known_files`."""
        return known_files(self.listed)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "files": self.files}

    def describe(self) -> str:
        """Return a line with the layout, its classes and its splits."""
        names = self.layout.class_names
        shown = ", ".join(names[:10]) + (f", ... ({len(names)} classes)" if len(names) > 10 else "")
        sizes = ", ".join(f"{len(listing):,} {split}" for split, listing in self.listings.items())
        parts = "" if self.crop is None else f", in parts of {self.crop} pixels"
        return f"{self.path}: {self.layout.kind}{': ' * bool(shown)}{shown}; {sizes} ({self._how_split}){parts}"

    def setup(self, stage: str) -> None:
        """Make the stores; files are read when their batches are."""
        if self.stores:
            return
        for split, listing in self.listings.items():
            source = self.layout.source(listing, self.in_channels, self.target_channels)
            if self.crop is not None:
                source = OwnSize(source, functools.partial(self.layout.size_of, listing))
                if split != "train":
                    self.stores[split] = TileStore(source, self.image_size, self.crop)
                    continue
            augment = None
            if split == "train" and (self.flip or self.zoom or self.mosaic or self.own or self.erase or self.crop):
                augment = Varied(
                    self.image_size,
                    self.zoom,
                    self.flip,
                    self.mosaic,
                    num=len(listing),
                    own=self.own,
                    erase=self.erase,
                    crop=None if self.crop is None else (self.crop, self.crop),
                )
            self.stores[split] = SampleStore(source, self.image_size, augment=augment, seed=self.seed)

    def augment(self, images_u8: Tensor, generator: torch.Generator) -> Tensor:
        # Per batch, on its device: per image, it would take as long as reading the file.
        return vary_colour(images_u8, generator, self.colour) if self.colour else images_u8

    def train_dataloader(self) -> DataLoader[Batch]:
        store = self.stores["train"]
        assert isinstance(store, SampleStore)
        epochs = self.trainer.max_epochs if self.trainer is not None else None
        if isinstance(store.augment, Varied) and epochs is not None and epochs > 0:
            store.augment.mosaic_epochs = self.mosaic_until * epochs
        return super().train_dataloader()

    def _loader(self, stage: str, sampler: EpochBatchSampler) -> DataLoader[Batch]:
        # The number of processes that share cores and memory is known only now.
        processes = self.trainer.num_devices if self.trainer is not None else 1
        if self._chooses_workers:
            self.num_workers = min(MAX_WORKERS, max(1, available_cores() // processes))
        if not self._caches_made:
            self._make_caches(processes)
        return super()._loader(stage, sampler)

    def _make_caches(self, processes: int) -> None:
        """Give the stores that are read every epoch a cache, if there is room for all of them."""
        self._caches_made = True
        if self.crop is not None:  # images of their own sizes
            return
        stores = [store for stage, store in self.stores.items() if stage != "test" and isinstance(store, SampleStore)]
        specs = [store.source.specs(self.image_size) for store in stores]
        needed = sum(cache_bytes(len(store), own) for store, own in zip(stores, specs, strict=True))
        if wants_cache(self.cache, needed, processes):
            for store, own in zip(stores, specs, strict=True):
                store.cache = Cache(len(store), own)


def told_by_side(class_names: Sequence[str]) -> tuple[str, str] | None:
    """Return two classes whose names differ only in left and right; None if there are none."""
    by_words = {" ".join(re.findall(r"[^\W_]+", name.casefold())): name for name in class_names}
    for words, name in by_words.items():
        for left, right in SIDES:
            mirrored = re.sub(left if len(left) > 1 else rf"\b{left}\b", right, words)
            if mirrored != words and mirrored in by_words:
                return name, by_words[mirrored]
    return None


def parse_fold(text: str) -> tuple[int, int]:
    """Return (I, K) of a fold 'I/K': the I-th of K parts, counted from 1.

    Raises:
        UserError: it is not of that form, or there is no such part.
    """
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]) >= 2:
        raise UserError(f"fold is I/K, the I-th of K parts, 2 or more, such as 1/5; got {text}")
    return int(match[1]), int(match[2])


def held_out(
    layout: Layout,
    val_size: float,
    test_size: float,
    known: Known | None = None,
    fold: tuple[int, int] | None = None,
) -> tuple[dict[str, Listing], str]:
    """Return the listings of training, validation and test, and a description of the split.

    A folder's own splits are kept. Shares of its training images are drawn evenly from the classes, the same ones each
    time; at least one image of each class stays for training. `fold` (I, K) tests on the I-th of K parts instead of a
    share. Files that are `known` stay in their splits, and shares are drawn from the others.

    Raises:
        UserError: a split has no images, a share is less than an image, too few images would be left for training, or
            folds do not suit the folder.
    """
    found = dict(layout.splits)
    if fold is not None and found.keys() != {"train"}:
        raise UserError(
            f"fold chooses the test images, and the folder has its own split ({layout.counted()}): put all images "
            "into one, or leave fold out"
        )
    if test_size == 1:
        if found.keys() == {"train"}:
            return {"test": found["train"]}, "all of them"
        return {split: listing for split, listing in found.items() if split != "train"}, "the folder's own split"
    empty = next((split for split, listing in found.items() if not len(listing)), None)
    if empty is not None or "train" not in found:
        there = ", ".join(split for split, listing in found.items() if len(listing)) or "nothing"
        raise UserError(f"{layout.kind} without images for {empty or 'train'}, only for {there}: add some")
    train = found["train"]
    if fold is not None:
        test_size = 1 / fold[1]
    shares = {split: share for split, share in (("val", val_size), ("test", test_size)) if share and split not in found}
    if known is not None and shares.keys() <= known.keys():
        drawn = _drawn_before(train, shares, known)
    elif fold is not None:
        test = part_of_fold(train, layout.class_names, *fold)
        drawn = {**_draw(train, {"val": val_size} if val_size else {}, test), "test": test}
    else:
        drawn = _draw(train, shares)
    taken = {index for indices in drawn.values() for index in indices}
    if taken:
        found["train"] = train.subset([index for index in range(len(train)) if index not in taken])
    found.update({split: train.subset(indices) for split, indices in drawn.items()})
    how = [f"{split} {share:.0%} of train" for split, share in shares.items() if split != "test" or fold is None]
    how += [] if fold is None else [f"test fold {fold[0]} of {fold[1]}"]
    if len(layout.splits) > 1:
        how.append("the rest is the folder's own split" if shares else "the folder's own split")
    ordered: dict[str, Listing] = {split: found[split] for split in ("train", "val", "test") if split in found}
    return ordered, ", ".join(how) or "nothing held out"


def part_of_fold(listing: Listing, class_names: Sequence[str], number: int, folds: int) -> list[int]:
    """Return the sorted indices of one of `folds` parts; each has its share of the images of each class.

    Raises:
        UserError: there are more parts than images, or than images of a class.
    """
    if folds > len(listing):
        raise UserError(f"{folds} folds of {len(listing):,} images: use at most as many folds as images")
    for index, count in enumerate([] if listing.labels is None else listing.labels.bincount().tolist()):
        if 0 < count < folds:
            name = class_names[index]
            raise UserError(f"{folds} folds need an image of class {name} each, and it has {count}: use fewer folds")
    return sorted(_by_class(listing)[number - 1 :: folds])


def _draw(train: Listing, shares: Mapping[str, float], taken: Collection[int] = ()) -> dict[str, list[int]]:
    """Return the indices of the images to hold out, by split; those in `taken` are held out already."""
    rest, drawn = _candidates(train, frozenset(taken)), {}
    for split, share in reversed(list(shares.items())):
        wanted = round(share * len(train))
        if not 0 < wanted <= len(rest):
            too_few = "none for it" if not wanted else "too few for training, which needs one of each class"
            raise UserError(f"{split}_size {share} of {len(train)} images leaves {too_few}: choose another share, or 0")
        drawn[split], rest = _spread(rest, wanted)
    return drawn


def _drawn_before(train: Listing, shares: Mapping[str, float], known: Known) -> dict[str, list[int]]:
    """Return the indices of the images to hold out, by split: known ones as before, and shares of the new ones."""
    names = hashes(train)
    new = (~torch.isin(names, torch.cat([entry["names"] for entry in known.values()]))).nonzero().flatten().tolist()
    drawn = {}
    num_new = len(new)
    for split, share in shares.items():
        chosen, new = _spread(new, round(share * num_new))
        drawn[split] = sorted(torch.isin(names, known[split]["names"]).nonzero().flatten().tolist() + chosen)
        if not drawn[split]:
            raise UserError(f"none of the images that were held out for {split} exists any more: put them back")
    return drawn


def _spread(indices: list[int], wanted: int) -> tuple[list[int], list[int]]:
    """Return `wanted` indices, evenly spaced in the list and then sorted, and the others in their order."""
    places = {math.floor((i + 0.5) * len(indices) / wanted) for i in range(wanted)}
    chosen = sorted(index for place, index in enumerate(indices) if place in places)
    return chosen, [index for place, index in enumerate(indices) if place not in places]


def part_for_training(listing: Listing, train_size: float) -> Listing:
    """Return the part of a listing that `train_size` keeps, drawn evenly from its classes; see `part_of`.

    Raises:
        UserError: it keeps none, more than there are, or less than one per class.
    """
    kept = part_of(len(listing), train_size)
    rest = _candidates(listing)
    classes = len(listing) - len(rest)
    if kept < classes:
        raise UserError(f"train_size {train_size:g} keeps {kept} images of {classes} classes: keep {classes} or more")
    dropped = set(_spread(rest, kept - classes)[1])
    return listing.subset([index for index in range(len(listing)) if index not in dropped])


def _candidates(listing: Listing, taken: Collection[int] = ()) -> list[int]:
    """Return the indices of the images that may be held out: all but those in `taken` and one of each class."""
    labels = _labels(listing)
    order = [index for index in _by_class(listing) if index not in taken]
    return [index for before, index in itertools.pairwise(order) if labels[before] == labels[index]]


def _by_class(listing: Listing) -> list[int]:
    """Return the indices of all images, shuffled, then sorted by class."""
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    order = torch.randperm(len(listing), generator=generator).tolist()
    return sorted(order, key=_labels(listing).__getitem__)


def _labels(listing: Listing) -> list[int]:
    return [0] * len(listing) if listing.labels is None else listing.labels.tolist()
