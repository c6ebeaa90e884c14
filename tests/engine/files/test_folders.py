import sys
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from engine.contract.parts import build_data
from engine.files import folders as module
from engine.files.folders import FolderDataModule
from engine.files.listing import KINDS
from tests.own_data import WRITERS, write_class_folders, write_coco, write_pairs, write_voc

QUICK = {"image_size": [48, 40], "num_workers": 0, "batch_size": 5}


def data_of(folder, task="classify", **options):
    data = FolderDataModule(str(folder), task, **{**QUICK, **options})
    data.setup("fit")
    return data


def epoch_of(data, epoch=0, stage="train"):
    loader = getattr(data, f"{stage}_dataloader")()
    loader.batch_sampler.set_epoch(epoch)
    return list(loader)


def equal(a, b):
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return torch.equal(a, b)


def with_trainer(data, **values):
    data.trainer = SimpleNamespace(
        max_epochs=10, num_devices=1, global_rank=0, world_size=1, overfit_batches=0, **values
    )
    return data


@pytest.mark.parametrize("task", WRITERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_task_gets_its_batches(tmp_path, task, channels):
    data = data_of(WRITERS[task](tmp_path), task, channels=channels)
    images, targets = epoch_of(data)[0]
    assert images.shape == (5, channels, 48, 40) and images.dtype == torch.uint8
    images, targets = data.on_after_batch_transfer((images, targets), 0)
    assert images.dtype == torch.float32 and len(data.mean) == len(data.std) == channels and images.abs().max() < 3
    if task == "classify":
        assert targets.shape == (5,) and targets.dtype == torch.int64
    elif task == "segment":
        assert targets.shape == (5, 48, 40) and targets.dtype == torch.int64
    elif task == "detect":
        assert len(targets) == 5 and all(len(t["boxes"]) == len(t["labels"]) for t in targets)
    elif task in ("regress", "multilabel"):
        assert targets.shape == (5, 2) and targets.dtype == torch.float32
    else:
        assert targets.shape == (5, channels, 48, 40)
    assert data.tasks == (task,) and data.in_channels == channels and data.image_size == (48, 40)


@pytest.mark.parametrize("task", WRITERS)
def test_workers_serve_the_same_varied_batches_and_each_epoch_has_its_own(tmp_path, task):
    WRITERS[task](tmp_path)
    alone, shared = (data_of(tmp_path, task, num_workers=workers, cache="none") for workers in (0, 2))
    first = epoch_of(alone)
    assert equal(first, epoch_of(shared)) and equal(epoch_of(alone, 3), epoch_of(shared, 3))
    assert not equal(first, epoch_of(alone, 3))
    assert not equal(first, epoch_of(data_of(tmp_path, task, seed=1)))
    assert equal(epoch_of(alone, 0, "val"), epoch_of(shared, 5, "val"))


@pytest.mark.parametrize("task", [task for task in WRITERS if KINDS[task].unit or KINDS[task].is_image])
def test_crops_are_the_same_for_any_number_of_workers_and_validation_is_on_all_parts(tmp_path, task):
    WRITERS[task](tmp_path)
    options = {"crop": 24, "image_size": None}
    alone, shared = (data_of(tmp_path, task, num_workers=workers, **options) for workers in (0, 2))
    assert alone.image_size == (24, 24) and alone.describe().endswith(", in parts of 24 pixels")
    assert "validation and test are on all parts of 24 x 24 pixels, each counted as an image" in alone.notes
    first = epoch_of(alone)
    assert first[0][0].shape == (5, 3, 24, 24) and sum(len(images) for images, _ in first) == len(
        alone.listings["train"]
    )
    assert equal(first, epoch_of(shared)) and not equal(first, epoch_of(alone, 3))
    tiles = epoch_of(alone, 0, "val")
    assert equal(tiles, epoch_of(shared, 5, "val"))
    assert sum(len(images) for images, _ in tiles) == 4 * len(alone.listings["val"])  # of 48 x 40 pixels
    if KINDS[task].unit:
        assert not equal(first, epoch_of(data_of(tmp_path, task, **options, balance=True)))
    scaled = data_of(tmp_path, task, crop=24, image_size=[12])
    assert epoch_of(scaled, 0, "val")[0][0].shape == (5, 3, 12, 12)


@pytest.mark.parametrize("task", [task for task in WRITERS if not (KINDS[task].unit or KINDS[task].is_image)])
def test_crops_are_refused_where_a_part_may_not_show_what_is_said_of_the_whole(tmp_path, task):
    WRITERS[task](tmp_path)
    message = f"crop is for masks, boxes and target images, and the task is {task}: leave it out"
    with pytest.raises(ValueError, match=message):
        data_of(tmp_path, task, crop=64)


def test_crops_of_one_size_can_be_scaled_and_are_not_kept(tmp_path):
    write_pairs(tmp_path, joined=True)
    data = data_of(tmp_path, "translate", crop=32, image_size=None)
    images, targets = epoch_of(data)[0]
    assert images.shape == targets.shape == (5, 3, 32, 32) and data.stores["train"].cache is None
    with pytest.raises(ValueError, match="cache ram keeps images of one size, and with crop they keep their own"):
        data_of(tmp_path, "translate", crop=32, cache="ram")


def test_a_resumed_epoch_goes_on_with_the_batches_that_were_not_seen(tmp_path):
    whole = epoch_of(data_of(write_voc(tmp_path), "detect"), 2)
    data = data_of(tmp_path, "detect")
    data.load_state_dict({"epoch": 2, "batches": 3, "of": 4})
    assert equal(list(data.train_dataloader()), whole[3:])


@pytest.mark.skipif(sys.platform != "linux", reason="there is no cache elsewhere")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_cache_is_filled_by_all_workers_and_changes_nothing(tmp_path, workers):
    write_voc(tmp_path)
    plain, cached = (
        data_of(tmp_path, "detect", cache=cache, num_workers=workers, test_size=0.2) for cache in ("none", "ram")
    )
    loaders = [data.train_dataloader() for data in (plain, cached)]
    for epoch in range(3):
        for loader in loaders:
            loader.batch_sampler.set_epoch(epoch)
        assert equal(*map(list, loaders))
    assert plain.stores["train"].cache is None and cached.stores["val"].cache is not None
    assert cached.stores["test"].cache is None  # it is gone through once
    kept = cached.stores["train"]
    assert all(kept.cache.get(i) is not None for i in range(len(kept)))
    assert all(equal(kept.cache.get(i), kept.source.read(i, (48, 40))) for i in range(len(kept)))


def test_nothing_is_varied_if_nothing_is_asked_for(tmp_path):
    data = data_of(write_class_folders(tmp_path), flip=False, zoom=0.0, colour=0.0)
    assert data.stores["train"].augment is None
    image, label = data.stores["train"][7]
    assert torch.equal(image, data.stores["train"].source.read(7, (48, 40))[0]) and label == 1
    assert data_of(tmp_path).stores["val"].augment is None


def test_what_is_varied_by_default_depends_on_the_task(tmp_path):
    found = {}
    for task in ("classify", "segment", "detect", "translate"):
        data = FolderDataModule(str(WRITERS[task](tmp_path / task)), task)
        found[task] = (data.mosaic, data.colour)
    assert found == {"classify": (0, 0.2), "segment": (0, 0.2), "detect": (0.5, 0.2), "translate": (0, 0)}
    assert data.class_names == ("red", "green", "blue")


def test_mosaics_are_over_at_their_share_of_the_runs_epochs(tmp_path):
    data = with_trainer(data_of(write_voc(tmp_path), "detect", mosaic=1.0, mosaic_until=0.5))
    data.train_dataloader()
    assert data.stores["train"].augment.mosaic_epochs == 5
    data.trainer.max_epochs = -1  # a run that is limited otherwise
    data.stores.clear()
    data.setup("fit")
    data.train_dataloader()
    assert data.stores["train"].augment.mosaic_epochs == float("inf")


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than this machine has cores for
@pytest.mark.parametrize(("cores", "processes", "workers"), [(1, 1, 1), (6, 1, 6), (64, 1, 8), (6, 2, 3), (2, 4, 1)])
def test_workers_are_as_many_as_there_are_cores_for_them(tmp_path, monkeypatch, cores, processes, workers):
    monkeypatch.setattr(module, "available_cores", lambda: cores)
    data = with_trainer(data_of(write_class_folders(tmp_path), num_workers=None))
    data.trainer.num_devices = processes
    assert data.train_dataloader().num_workers == workers


# Splits


def names_of(data):
    return {stage: set(listing.images) for stage, listing in data.listings.items()}


def test_what_is_held_out_is_the_same_each_time_complete_and_even_over_the_classes(tmp_path):
    write_class_folders(tmp_path, num=30)
    first, again = (FolderDataModule(str(tmp_path), "classify", test_size=0.1, seed=seed) for seed in (0, 5))
    assert names_of(first) == names_of(again)
    names = names_of(first)
    assert {stage: len(own) for stage, own in names.items()} == {"train": 21, "val": 6, "test": 3}
    assert len(set.union(*names.values())) == 30
    for stage, each in (("train", 7), ("val", 2), ("test", 1)):
        assert torch.bincount(first.listings[stage].labels).tolist() == [each] * 3
    assert list(first.listings["val"].images) == sorted(names["val"])  # in the folder's own order


@pytest.mark.parametrize("task", WRITERS)
def test_folds_test_each_image_once_and_train_on_the_others(tmp_path, task):
    WRITERS[task](tmp_path, num=25)
    folds = [names_of(FolderDataModule(str(tmp_path), task, fold=f"{i}/3", seed=i)) for i in (1, 2, 3)]
    assert sorted(name for fold in folds for name in fold["test"]) == sorted(set.union(*folds[0].values()))
    assert sorted(len(fold["test"]) for fold in folds) == [8, 8, 9]
    for fold in folds:
        assert len(fold["val"]) == 5 and sum(map(len, fold.values())) == 25
        assert len(set.union(*fold.values())) == 25
    again = FolderDataModule(str(tmp_path), task, fold="2/3")
    assert names_of(again) == folds[1]
    assert again.describe().endswith("(val 20% of train, test fold 2 of 3)")


@pytest.mark.task("classify")
def test_folds_have_their_share_of_each_class(tmp_path):
    write_class_folders(tmp_path, num=25)  # 9 red, 8 green, 8 blue
    for fold in ("1/4", "2/4", "3/4", "4/4"):
        data = FolderDataModule(str(tmp_path), "classify", fold=fold)
        counts = {split: torch.bincount(data.listings[split].labels).tolist() for split in ("train", "val", "test")}
        assert all(2 <= count <= 3 for count in counts["test"]) and min(counts["val"]) == 1
        assert sum(counts["test"]) in (6, 7) and sum(counts["val"]) == 5


@pytest.mark.task("classify")
def test_a_fold_stays_as_it_was_when_images_are_added(tmp_path):
    write_class_folders(tmp_path, num=24)
    before = FolderDataModule(str(tmp_path), "classify", fold="1/3")
    write_class_folders(tmp_path, num=27)
    after = FolderDataModule(str(tmp_path), "classify", fold="1/3", known=before.files)
    assert all(names_of(before)[split] <= own for split, own in names_of(after).items())


@pytest.mark.task("segment")
def test_a_fold_may_be_one_image(tmp_path):
    WRITERS["segment"](tmp_path, num=5)
    assert [len(own) for own in names_of(data_of(tmp_path, "segment", fold="5/5")).values()] == [3, 1, 1]


@pytest.mark.task("detect")
def test_a_folder_with_splits_has_no_folds(tmp_path):
    write_voc(tmp_path, split=True)
    with pytest.raises(ValueError, match=r"fold chooses .* its own split \(12 train, 6 val, 6 test\): put all images"):
        FolderDataModule(str(tmp_path), "detect", fold="1/2")


def test_every_class_keeps_an_image_to_train_on(tmp_path):
    for name in [f"{i}/1.jpg" for i in range(10)] + [f"0/{i}.jpg" for i in range(2, 12)]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    data = FolderDataModule(str(tmp_path), "classify", val_size=0.5)
    assert torch.bincount(data.listings["train"].labels).tolist() == [1] * 10
    with pytest.raises(ValueError, match=r"val_size 0.6 of 20 images leaves too few for training, which needs on"):
        FolderDataModule(str(tmp_path), "classify", val_size=0.6)


def test_a_small_train_size_keeps_an_image_of_each_class(tmp_path):
    data = data_of(write_class_folders(tmp_path), val_size=0, train_size=4)
    assert sorted(data.listings["train"].labels.tolist()) == [0, 1, 1, 2] and "4 of 24 for training" in data.describe()
    first = data_of(tmp_path, train_size=0.5)
    again = data_of(tmp_path, train_size=0.5, known=first.files)  # images left out are not taken for new ones
    assert all(list(first.listings[s].images) == list(again.listings[s].images) for s in ("train", "val"))
    with pytest.raises(ValueError, match="train_size 2 keeps 2 images of 3 classes: keep 3 or more"):
        data_of(tmp_path, val_size=0, train_size=2)


def test_the_folders_own_splits_are_left_as_they_are(tmp_path):
    data = FolderDataModule(str(write_class_folders(tmp_path, split=True)), "classify", test_size=0.3)
    assert {stage: len(own) for stage, own in names_of(data).items()} == {"train": 12, "val": 6, "test": 6}
    for path in sorted((tmp_path / "val").rglob("*.png")):
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    (tmp_path / "val").rmdir()
    data = FolderDataModule(str(tmp_path), "classify", val_size=0.25)
    assert {stage: len(own) for stage, own in names_of(data).items()} == {"train": 9, "val": 3, "test": 6}
    assert "9 train, 3 val, 6 test (val 25% of train, the rest is the folder's own split)" in data.describe()


def test_without_a_share_there_is_no_such_split(tmp_path):
    data = data_of(write_class_folders(tmp_path), val_size=0)
    assert not data.has_validation and not data.has_test
    assert data.val_dataloader() == data.test_dataloader() == [] and len(data.stores["train"]) == 24
    assert data_of(tmp_path, test_size=0.2).has_test


def test_a_checkpoints_classes_can_be_laid_upon_another_folder(tmp_path):
    data = FolderDataModule(str(write_class_folders(tmp_path)), "classify", classes=["red", "grey", "green", "blue"])
    assert data.class_names == ("red", "grey", "green", "blue")
    assert {name.split("/")[0]: int(label) for name, label in zip(*columns(data), strict=True)} == {
        "red": 0,
        "green": 2,
        "blue": 3,
    }


def columns(data):
    return data.listings["train"].images, data.listings["train"].labels


# What is said


def test_one_line_says_what_was_recognised(tmp_path):
    data = FolderDataModule(str(write_class_folders(tmp_path)), "classify")
    assert data.describe() == f"{tmp_path}: class folders: blue, green, red; 19 train, 5 val (val 20% of train)"
    data = FolderDataModule(str(write_pairs(tmp_path / "p", split=True)), "translate")
    assert data.describe().endswith("p: pairs of images in A and B; 12 train, 6 val, 6 test (the folder's own split)")
    for i in range(12):
        (tmp_path / "many" / f"c{i:02}").mkdir(parents=True)
        (tmp_path / "many" / f"c{i:02}" / "1.jpg").touch()
    data = FolderDataModule(str(tmp_path / "many"), "classify", val_size=0)
    assert data.describe().endswith(" c08, c09, ... (12 classes); 12 train (nothing held out)")


def test_notes_of_the_layout_are_there_to_be_printed(tmp_path):
    write_class_folders(tmp_path)
    assert FolderDataModule(str(tmp_path), "classify").notes == []
    Image.new("L", (4, 4)).save(tmp_path / "stray.png")
    notes = FolderDataModule(str(tmp_path), "classify").notes
    assert notes == ["1 images left out: they are in no class folder (first: stray.png)"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("left right up", "left into right"),
        ("turn-Left turn-Right", "turn-Left into turn-Right"),
        ("hand_L hand_R", "hand_L into hand_R"),
        ("turnleft turnright", "turnleft into turnright"),
        ("left up", ""),
        ("ball barr", ""),
        ("bright light", ""),
    ],
)
def test_classes_that_mirroring_makes_one_are_remarked(tmp_path, names, said):
    for name in names.split():
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    notes = FolderDataModule(str(tmp_path), "classify", val_size=0).notes
    assert [note.split(",")[0] for note in notes] == ([f"mirroring turns class {said}"] if said else [])
    assert all("--data.flip false" in note for note in notes)
    assert FolderDataModule(str(tmp_path), "classify", val_size=0, flip=False).notes == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"num_workers": -1}, "num_workers must be 0 or more, got -1"),
        ({"image_size": []}, r"image_size is one number of pixels, or height and width, 2 or more, got \[\]"),
        ({"image_size": [1, 2, 3]}, "image_size is one number"),
        ({"image_size": [0]}, "image_size is one number"),
        ({"channels": 2}, "channels is 1 for grey or 3 for colour, got 2"),
        ({"val_size": -0.1}, "val_size and test_size are shares of the images, together below 1, got -0.1 and 0.0"),
        ({"val_size": 0.5, "test_size": 0.5}, "together below 1"),
        ({"val_size": 5000.0}, "together below 1"),
        ({"val_size": 0.01}, "val_size 0.01 of 24 images leaves none for it: choose another share, or 0"),
        ({"val_size": 0.99}, "val_size 0.99 of 24 images leaves too few for training"),
        ({"fold": "1/1"}, "fold is I/K, the I-th of K parts, 2 or more, such as 1/5; got 1/1"),
        ({"fold": "0/5"}, "fold is I/K"),
        ({"fold": "6/5"}, "fold is I/K"),
        ({"fold": "2"}, "fold is I/K"),
        ({"fold": "1/9"}, "9 folds need an image of class blue each, and it has 8: use fewer folds"),
        ({"fold": "1/25"}, "25 folds of 24 images: use at most as many folds as images"),
        ({"fold": "1/5", "test_size": 0.1}, "fold 1/5 chooses the test images: leave test_size 0.1 out"),
        ({"fold": "1/2", "val_size": 0.5}, "val_size 0.5 of 24 images leaves too few for training"),
        ({"mosaic": 0.5}, "mosaic is for boxes, and the task is classify"),
        ({"crop": 1}, "crop is the side of a part in pixels, 2 to 8,192, got 1"),
        ({"crop": 10**9}, "crop is the side of a part in pixels, 2 to 8,192, got 1000000000"),
        ({"zoom": -0.5}, "zoom is from 0 to 3"),
        ({"colour": 1.5}, "colour, mosaic and mosaic_until are from 0 to 1"),
        ({"mosaic_until": float("nan")}, "mosaic_until nan"),
        ({"cache": "disk"}, "cache is one of auto, ram, none, got 'disk'"),
        ({"classes": ["blue", "red"]}, "has the class green, which --data.classes lacks"),
        ({"batchsize": 3}, "has no option 'batchsize'; did you mean batch_size"),
    ],
)
def test_wrong_options_are_refused_in_one_line(tmp_path, options, message):
    write_class_folders(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        build_data(str(tmp_path), "classify", 0, **options)
    assert "\n" not in str(caught.value)


def test_the_task_that_a_folder_is_for_is_named(tmp_path):
    write_coco(tmp_path)
    with pytest.raises(ValueError, match=r"holds COCO \(24 train\), for task detect, not segment"):
        FolderDataModule(str(tmp_path), "segment")
    with pytest.raises(ValueError, match="there is no folder"):
        FolderDataModule(str(tmp_path / "nowhere"), "segment")


def test_a_split_without_images_is_named(tmp_path):
    write_voc(tmp_path, split=True)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("")
    with pytest.raises(ValueError, match="Pascal VOC without images for val, only for train, test: add some"):
        FolderDataModule(str(tmp_path), "detect")
