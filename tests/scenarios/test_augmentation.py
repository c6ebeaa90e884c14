"""Augmentations by name, erasing, MixUp and CutMix: what they do, that they resume, and what they look like."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from engine.contract.errors import UserError
from engine.data.augment import Varied, objects
from engine.data.mixing import mixed
from engine.data.own_augmentation import OwnAugmentation
from engine.errors import RunError, UsageError
from engine.files.folders import FolderDataModule
from engine.files.listing import KINDS
from engine.inference import evaluate
from engine.report import show_data
from engine.resume.checkpoint_file import read_checkpoint
from project.augmentations import AUGMENTATIONS
from scripts import train
from tests.own_data import WRITERS, write_class_folders, write_masks
from tests.runs import read_summary, same

QUICK = ["--data.image_size", "48", "--data.batch_size", "4", "--data.num_workers", "0", "--wandb", "disabled"]


@pytest.fixture(autouse=True)
def _(workplace):
    pass


def own_run(folder, *flags):
    train.main(["--data", str(folder), *QUICK, *map(str, flags)])


IMAGES = torch.arange(4 * 3 * 6 * 8).float().view(4, 3, 6, 8)
LABELS = torch.tensor([0, 2, 1, 1])


def test_mixup_is_a_sum_with_the_batch_turned_round():
    images, targets = mixed(IMAGES, LABELS, 3, 0.5, 0.0, torch.Generator().manual_seed(1))
    share = float(targets[0, 0])
    assert 0 < share < 1 and targets[0].tolist() == pytest.approx([share, 1 - share, 0])
    torch.testing.assert_close(images, share * IMAGES + (1 - share) * IMAGES.flip(0))
    assert targets.sum(dim=1).tolist() == pytest.approx([1] * 4)


def test_cutmix_puts_a_part_in_and_its_share_is_that_of_the_pixels():
    for seed in range(20):
        images, targets = mixed(IMAGES, LABELS, 3, 0.0, 1.0, torch.Generator().manual_seed(seed))
        other = (images[0, 0] == IMAGES[3, 0]).float().mean()
        assert ((images == IMAGES) | (images == IMAGES.flip(0))).all()
        assert float(targets[0, 1]) == pytest.approx(float(other)) and targets[0].sum() == pytest.approx(1)


def test_with_both_a_batch_has_one_of_them():
    kinds = set()
    for seed in range(20):
        images, _ = mixed(IMAGES, LABELS, 3, 1.0, 1.0, torch.Generator().manual_seed(seed))
        kinds.add(bool(((images == IMAGES) | (images == IMAGES.flip(0))).all()))
    assert kinds == {True, False}


@pytest.mark.parametrize("name", ["auto", "rand", "trivial", "augmix"])
def test_families_change_images_and_are_for_classes(name):
    image = tv_tensors.Image(torch.randint(0, 255, (3, 32, 32), dtype=torch.uint8))
    torch.manual_seed(3)
    changed = [AUGMENTATIONS[name](image, 5) for _ in range(5)]
    assert all(target == 5 and varied.shape == image.shape for varied, target in changed)
    assert any(not torch.equal(varied, image) for varied, _ in changed)
    with pytest.raises(ValueError, match="changes images only, so it is for images of one class each"):
        AUGMENTATIONS[name](image, tv_tensors.Mask(torch.zeros(32, 32, dtype=torch.uint8)))


def test_turning_turns_masks_and_boxes_as_well():
    image = tv_tensors.Image(torch.full((3, 64, 64), 9, dtype=torch.uint8))
    torch.manual_seed(1)
    _, mask = AUGMENTATIONS["turn"](image, tv_tensors.Mask(torch.eye(64, dtype=torch.uint8)))
    assert not torch.equal(mask, torch.eye(64, dtype=torch.uint8))
    _, target = AUGMENTATIONS["turn"](image, objects(torch.tensor([[10.0, 20, 30, 24]]), torch.tensor([0]), (64, 64)))
    assert target["boxes"].shape == (1, 4) and target["boxes"].tolist() != [[10, 20, 30, 24]]


IMAGE = tv_tensors.Image(torch.zeros(3, 8, 8, dtype=torch.uint8))
MASK = tv_tensors.Mask(torch.zeros(8, 8, dtype=torch.uint8))
BOX = objects(torch.tensor([[1.0, 1, 5, 5]]), torch.tensor([0]), (8, 8))


def with_boxes(boxes, labels=(0,), dtype=torch.int64):
    return lambda i, t: (i, {"boxes": torch.as_tensor(boxes), "labels": torch.tensor(labels, dtype=dtype)})


@pytest.mark.parametrize(
    ("own", "target", "message"),
    [
        (lambda i, t: None, 0, "expected an image and its target, got NoneType"),
        (lambda i, t: i, 0, "expected an image and its target, got torch.uint8 (3, 8, 8)"),
        (lambda i, t: (i.float(), t), 0, "expected an image of torch.uint8 (3, 8, 8), got torch.float32 (3, 8, 8)"),
        (lambda i, t: (i[:, :4], t), 0, "expected an image of torch.uint8 (3, 8, 8), got torch.uint8 (3, 4, 8)"),
        (lambda i, t: (i.numpy(), t), 0, "expected an image of torch.uint8 (3, 8, 8), got ndarray"),
        (lambda i, t: (i, None), 0, "expected a target of type int, got NoneType"),
        (lambda i, t: (i, 2), 0, "expected classes from 0 to 1, got class 2"),
        (lambda i, t: (i, t.float()), MASK, "expected a target of torch.uint8 (8, 8), got torch.float32 (8, 8)"),
        (lambda i, t: (i, t + 7), MASK, "expected classes from 0 to 1, got class 7"),
        (lambda i, t: (i, None), MASK, "expected a target of torch.uint8 (8, 8), got NoneType"),
        (lambda i, t: (i, t["boxes"]), BOX, "expected a target with boxes and labels, got torch.float32 (1, 4)"),
        (with_boxes([[1.0, 1, 5, 5]] * 2), BOX, "expected a label for each box, got 2 boxes and labels of (1,)"),
        (lambda i, t: (i, t / 0), torch.ones(2), "expected finite numbers, got [inf, inf]"),
        (with_boxes([[1.0, 1, 5]]), BOX, "expected boxes of torch.float32 (M, 4), got torch.float32 (1, 3)"),
        (with_boxes([[1, 1, 5, 5]]), BOX, "expected boxes of torch.float32 (M, 4), got torch.int64 (1, 4)"),
        (with_boxes([[1.0, 1, float("nan"), 5]]), BOX, "expected finite boxes, got 1 that are not"),
        (with_boxes([[5.0, 1, 1, 5]]), BOX, "expected boxes with x0 <= x1 and y0 <= y1, got [5.0, 1.0, 1.0, 5.0]"),
        (
            with_boxes([[1.0, 1, 5, 5]], dtype=torch.float32),
            BOX,
            "expected labels of torch.int64 (M,), got torch.float32",
        ),
        (with_boxes([[1.0, 1, 5, 5]], (-1,)), BOX, "expected classes from 0 to 1, got class -1"),
        (v2.ConvertBoundingBoxFormat("CXCYWH"), BOX, "expected boxes xyxy, got boxes CXCYWH"),
    ],
)
def test_what_is_no_sample_any_more_is_refused(own, target, message):
    varied = Varied((8, 8), own=OwnAugmentation("mine", own, 2))
    with pytest.raises(UserError, match=re.escape(f"augmentation mine: {message}")):
        varied(lambda index: (IMAGE, target), 0, 0)


@pytest.mark.parametrize("target", [1, MASK, BOX, IMAGE, torch.ones(2)])
def test_what_is_a_sample_still_is_taken(target):
    varied = OwnAugmentation("mine", v2.Identity(), 2)(IMAGE, target)
    assert same(varied, (IMAGE, target))
    OwnAugmentation("mine", with_boxes(torch.zeros(0, 4), ()), 2)(IMAGE, BOX)  # all objects may go


@pytest.mark.task("classify")
def test_an_error_of_ones_own_keeps_its_traceback_and_says_whose_it_is(workplace, monkeypatch):
    monkeypatch.setitem(AUGMENTATIONS, "mine", lambda image, target: image / 0 + [])
    with pytest.raises(TypeError) as raised:
        own_run(write_class_folders(workplace / "own"), "--data.augment", "mine", "--name", "a")
    assert raised.value.__notes__ == ["raised by augmentation mine of project/augmentations.py"]


@pytest.mark.task("classify")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_sample_that_is_none_any_more_ends_a_run_in_a_line(workplace, monkeypatch, workers):
    monkeypatch.setitem(AUGMENTATIONS, "mine", lambda image, target: (image.float(), target))
    with pytest.raises(RunError, match="^augmentation mine: expected an image of torch.uint8"):
        flags = ("--data.augment", "mine", "--name", "a", "--data.num_workers", workers)
        own_run(write_class_folders(workplace / "own"), *flags)


@pytest.mark.task("classify")
@pytest.mark.parametrize(
    "flags",
    [("--data.augment", "trivial", "--data.erase", 0.5), ("--data.mixup", 0.4, "--data.cutmix", 1.0)],
    ids=["by sample", "by batch"],
)
def test_a_run_that_was_cut_goes_on_bit_for_bit(workplace, flags):
    folder = write_class_folders(workplace / "own")
    options = (*flags, "--max_epochs", 2, "--optim.schedule", "constant")
    own_run(folder, "--name", "whole", *options)
    own_run(folder, "--name", "plain", *options[len(flags) :])
    own_run(folder, "--name", "cut", *options, "--max_steps", 3)
    train.main(["--ckpt_path", "checkpoints/cut/last.ckpt", "--max_steps", "-1"])
    whole, cut, plain = (read_checkpoint(f"checkpoints/{name}/last.ckpt") for name in ("whole", "cut", "plain"))
    assert same(whole, cut) and not same(whole["state_dict"], plain["state_dict"])


@pytest.mark.parametrize("task", [task for task in WRITERS if KINDS[task].unit or KINDS[task].is_image])
def test_a_run_on_crops_that_was_cut_goes_on_bit_for_bit_and_is_measured_again_on_all_parts(workplace, task, capsys):
    folder = WRITERS[task](workplace / "own")
    options = ("--task", task, "--data.crop", 32, "--data.image_size", 32, "--max_epochs", 2)
    options = (*options, "--optim.schedule", "constant", "--head.width", 8, "--backbone.widths", "8,8,8")
    own_run(folder, "--name", "whole", *options)
    own_run(folder, "--name", "cut", *options, "--max_steps", 3)
    train.main(["--ckpt_path", "checkpoints/cut/last.ckpt", "--max_steps", "-1"])
    whole, cut = (read_checkpoint(f"checkpoints/{name}/last.ckpt") for name in ("whole", "cut"))
    assert same(whole, cut) and whole["hyper_parameters"]["image_size"] == [32, 32]
    capsys.readouterr()
    evaluate.main(["checkpoints/whole/best.ckpt", "--split", "val"])
    printed = capsys.readouterr().out
    num = len(FolderDataModule(str(folder), task).listings["val"])
    assert f"{4 * num} validation images" in printed  # four parts of 32 pixels each
    best = read_summary("whole")["best"]
    line = next(line for line in printed.splitlines() if line.startswith(f"{best['metric']} "))
    assert float(line.split()[1]) == pytest.approx(best["value"] * (100 if "%" in line else 1), abs=0.02)


@pytest.mark.parametrize("task", WRITERS)
def test_training_samples_are_shown_with_their_targets(workplace, task):
    folder = WRITERS[task](workplace / "own")
    flags = ["--task", task, "--data", str(folder), *QUICK]
    show_data.main([*flags, "--output", "a.png"])
    show_data.main([*flags, "--output=b.png"])
    show_data.main([*flags, "--output=c.png", "--seed", "4"])
    a, b, c = (np.asarray(Image.open(f"{name}.png")) for name in "abc")
    assert a.shape[2] == 3 and min(a.shape[:2]) > 90 and np.array_equal(a, b) and not np.array_equal(a, c)
    assert sorted(path.name for path in workplace.iterdir()) == ["a.png", "b.png", "c.png", "data", "own"]


@pytest.mark.parametrize(
    ("task", "flags", "message"),
    [
        (
            "classify",
            ["--data.augment", "trivail"],
            "unknown augmentation 'trivail'; did you mean trivial",
        ),
        ("classify", ["--data.erase", 2], "erase is from 0 to 1, and mixup and cutmix are 0 or more, got erase 2.0"),
        ("classify", ["--data.mixup", -1], "got erase 0.0, mixup -1.0"),
        (
            "segment",
            ["--data.mixup", 0.2],
            "mixup and cutmix are for images of one class each, and the",
        ),
        ("classify", ["--data.mixup", 0.2, "--task.focal", 2], "focal is for images of one class each: leave it out"),
    ],
)
def test_what_cannot_be_meant_is_refused(workplace, task, flags, message):
    folder = WRITERS[task](workplace / "own")
    with pytest.raises(UsageError, match=message):
        own_run(folder, "--task", task, "--name", "a", *flags)
    assert not (workplace / "checkpoints").exists()


@pytest.mark.parametrize(
    ("task", "flags", "message"),
    [
        (
            "segment",
            ["--data.augment", "auto"],
            "AutoAugment changes images only, so it is for images of one class each",
        ),
    ],
)
def test_what_does_not_fit_together_ends_in_a_line(workplace, task, flags, message):
    folder = WRITERS[task](workplace / "own")
    with pytest.raises(RunError, match=message):
        own_run(folder, "--task", task, "--name", "a", *flags)


def test_what_turning_leaves_of_a_mask_has_no_class():
    torch.manual_seed(1)
    image = tv_tensors.Image(torch.zeros(3, 40, 40, dtype=torch.uint8))
    _, mask = AUGMENTATIONS["turn"](image, tv_tensors.Mask(torch.ones(40, 40, dtype=torch.uint8)))
    assert mask.unique().tolist() == [1, 255]


def test_an_augmentation_that_writes_into_the_image_leaves_the_cache_alone():
    image = tv_tensors.Image(torch.zeros(3, 8, 8, dtype=torch.uint8))
    mask = tv_tensors.Mask(torch.zeros(8, 8, dtype=torch.uint8))

    def write(image, target):
        image[:] = 9
        target[:] = 1
        return image, target

    seen, target = OwnAugmentation("mine", write, 10)(image, mask)
    assert seen.max() == 9 and target.max() == 1 and image.max() == 0 and mask.max() == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--task", "segment", "--data.augment", "auto"], "AutoAugment changes images only"),
        (["--ckpt_path", "last"], "show_data.py draws the data of a new run: leave --ckpt_path out"),
    ],
)
def test_data_that_cannot_be_shown_is_a_line(workplace, flags, message):
    folder = write_masks(workplace / "own")
    with pytest.raises(UsageError, match=message):
        show_data.main(["--data", str(folder), *QUICK, *flags, "--output", "a.png"])
