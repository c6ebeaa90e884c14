"""Pipelines on arrays as augmentations: what moves together, how they are seeded, and the entry in the guide."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from engine.contract.errors import UserError
from engine.data.augment import objects
from engine.data.numpy_pipeline import NumpyPipeline
from engine.data.own_augmentation import OwnAugmentation
from engine.resume.checkpoint_file import read_checkpoint
from project.augmentations import AUGMENTATIONS
from scripts import train
from tests.own_data import write_masks
from tests.runs import same
from tests.test_docs import ROOT, blocks

SIZE = (8, 10)


class Shift:
    """Stands in for an albumentations.Compose: moves everything right by 1 to 4 pixels, and fills with 0."""

    def __init__(self, processors=("bboxes",)):
        self.processors = dict.fromkeys(processors)

    def set_random_seed(self, seed):
        self.random = np.random.default_rng(seed)

    def __call__(self, *, image, **targets):
        assert image.shape[:2] == SIZE and image.dtype == np.uint8
        num = int(self.random.integers(1, 5))
        done = {"image": image, **targets}
        for name in done.keys() & {"image", "mask", "target"}:
            done[name] = np.roll(done[name], num, axis=1)
            done[name][:, :num] = 0
        if "bboxes" in targets:
            boxes, labels = targets["bboxes"] + [num, 0, num, 0], targets["labels"]
            assert boxes.shape == (len(labels), 4)
            done |= {"bboxes": boxes.tolist(), "labels": labels.tolist()}  # of any type, and none are []
        return done


def varied(target, seed=0, channels=3, **options):
    torch.manual_seed(seed)
    image = tv_tensors.Image(torch.arange(1, 81, dtype=torch.uint8).repeat(channels).view(channels, *SIZE))
    return OwnAugmentation("shift", NumpyPipeline(Shift(**options)), 3)(image, target)


def moved(image):
    return int((image[0, 0] == 0).sum())


@pytest.mark.parametrize("channels", [1, 3])
def test_a_class_stays_and_the_image_moves_as_torch_was_seeded(channels):
    images = [varied(2, seed, channels)[0] for seed in (0, 0, 1, 2, 3)]
    assert varied(2)[1] == 2 and torch.equal(images[0], images[1])
    assert len({moved(image) for image in images}) > 1
    num = moved(images[0])
    assert images[0][:, 0, num:].tolist() == [list(range(1, 11 - num))] * channels


def test_a_mask_moves_along_and_pixels_filled_in_have_no_class():
    mask = torch.ones(SIZE, dtype=torch.uint8)
    mask[0] = 255
    image, found = varied(tv_tensors.Mask(mask))
    num = moved(image)
    assert found[1].tolist() == [255] * num + [1] * (10 - num) and found[0].tolist() == [255] * 10


@pytest.mark.parametrize("num", [0, 2])
def test_boxes_move_along(num):
    boxes, labels = torch.tensor([[1.0, 1, 4, 5], [2, 2, 5, 5]])[:num], torch.tensor([2, 0])[:num]
    image, found = varied(objects(boxes, labels, SIZE))
    assert torch.equal(found["boxes"].as_subclass(torch.Tensor), boxes + moved(image) * torch.tensor([1, 0, 1, 0]))
    assert torch.equal(found["labels"], labels)


def test_a_target_image_moves_along():
    image, found = varied(tv_tensors.Image(torch.full((1, *SIZE), 7, dtype=torch.uint8)))
    assert moved(found) == moved(image) and found.shape == (1, *SIZE)


def test_a_pipeline_that_leaves_boxes_is_refused_and_serves_for_classes():
    with pytest.raises(UserError, match='the pipeline leaves boxes as they are: give it bbox_params for "pascal_voc"'):
        varied(objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), SIZE), processors=())
    assert varied(1, processors=())[1] == 1


@pytest.mark.task("segment")
def test_a_run_with_the_entry_in_the_guide_is_resumed_bit_for_bit(workplace, monkeypatch):
    loaded = []

    class Turn(Shift):
        def __call__(self, *, image, mask, **rest):
            assert not rest["bboxes"].size
            turns = int(self.random.integers(4))
            return {"image": np.rot90(image, turns), "mask": np.rot90(mask, turns)}

    def load(path, data_format):
        loaded.append((path, data_format))
        return Turn()

    monkeypatch.setitem(sys.modules, "albumentations", SimpleNamespace(load=load))
    monkeypatch.setitem(AUGMENTATIONS, "strong", None)
    ((_, text),) = blocks(ROOT / "docs" / "training.md")
    exec(text, {"AUGMENTATIONS": AUGMENTATIONS})
    assert loaded == [("strong.yaml", "yaml")]
    folder = write_masks(workplace / "own")
    flags = ["--data", str(folder), "--task", "segment", "--data.augment", "strong", "--data.image_size", "48"]
    flags += ["--data.batch_size", "4", "--data.num_workers", "0", "--wandb", "disabled", "--max_epochs", "2"]
    train.main([*flags, "--optim.schedule", "constant", "--name", "whole"])
    train.main([*flags, "--optim.schedule", "constant", "--name", "cut", "--max_steps", "7"])
    train.main(["--ckpt_path", "checkpoints/cut/last.ckpt", "--max_steps", "-1"])
    assert same(*(read_checkpoint(f"checkpoints/{name}/last.ckpt") for name in ("whole", "cut")))
