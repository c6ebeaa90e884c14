import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from engine.contract.parts import build_data
from engine.data.store import ImageStore
from project.data.digits import INK, DigitsDataModule, Scenes, textured_ground, trimmed

SMALL = {"num_train": 12, "num_val": 6, "num_test": 8, "val_digits": 60, "batch_size": 4}


@pytest.fixture(autouse=True)
def _(workplace):
    pass


def made(task, **options):
    data = DigitsDataModule(task=task, **{**SMALL, **options})
    data.prepare_data()
    data.setup("fit")
    return data


def test_boxes_and_masks_are_of_the_same_scenes_and_fit_each_other():
    detect, segment = made("detect"), made("segment")
    for i in range(12):
        (image, objects), (same, mask) = detect.stores["train"][i], segment.stores["train"][i]
        assert torch.equal(image, same) and image.shape == (1, 96, 96) and mask.shape == (96, 96)
        assert 1 <= len(objects["labels"]) <= 5
        for (x0, y0, x1, y1), label in zip(objects["boxes"].int().tolist(), objects["labels"].tolist(), strict=True):
            inside = mask[y0:y1, x0:x1] == label + 1
            assert inside.any()
            # Where nothing covers it, the box is the smallest around its digit.
            if (mask[y0:y1, x0:x1] == 0).logical_or(inside).all() and (mask == label + 1).sum() == inside.sum():
                rows, columns = inside.any(dim=1), inside.any(dim=0)
                assert rows[0] and rows[-1] and columns[0] and columns[-1]
        outside = torch.ones_like(mask, dtype=torch.bool)
        for x0, y0, x1, y1 in objects["boxes"].int().tolist():
            outside[y0:y1, x0:x1] = False
        assert (mask[outside] == 0).all()


def test_a_box_is_around_what_is_clearly_drawn():
    """Beside a digit of 8 x 8 bright pixels there is a faint column, part of the picture but not of the box."""
    image = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    image[..., 4:12, 4:12], image[..., 4:12, 12] = 250, 80
    scenes = Scenes(ImageStore(image, torch.tensor([3])), 1, (0, 0), (8, 8), 1, "detect")
    objects = scenes.sample(0, scenes.read(0, (40, 40)), (40, 40))[1]
    x0, y0, x1, y1 = objects["boxes"][0].tolist()
    assert (x1 - x0, y1 - y0) == (8, 8) and objects["labels"].tolist() == [3]


def test_digits_overlap_only_a_little():
    data = made("detect", num_train=60, max_digits=8)
    for i in range(60):
        boxes = data.stores["train"][i][1]["boxes"].as_subclass(torch.Tensor)
        assert (box_iou(boxes, boxes) - torch.eye(len(boxes))).max() < 0.3


def test_a_scene_follows_from_seed_split_and_index():
    first, again, other = made("detect"), made("detect", seed=5, cache="none"), made("detect", scene_seed=1)
    for split in ("train", "val", "test"):
        assert torch.equal(first.stores[split][3][0], again.stores[split][3][0])
        assert not torch.equal(first.stores[split][3][0], other.stores[split][3][0])
    assert not torch.equal(first.stores["train"][3][0], first.stores["val"][3][0])


def test_each_split_shows_digits_of_its_own():
    data = made("detect")
    stores = {split: data.stores[split].source.digits for split in ("train", "val", "test")}
    assert all(stores[split] is data._mnist.stores[split] for split in stores)


def test_heights_are_within_the_limits():
    data = made("detect", min_size=20, max_size=24, num_train=40)
    for i in range(40):
        boxes = data.stores["train"][i][1]["boxes"]
        high = boxes[:, 3] - boxes[:, 1]
        assert (high <= 24).all() and (high >= 14).all()  # faint ends of a stroke are not in its box


def test_batches_are_what_the_contract_says():
    for task, names in (("detect", 10), ("segment", 11)):
        data = made(task)
        assert len(data.class_names) == names
        images, targets = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
        assert images.shape == (4, 1, 96, 96) and images.dtype == torch.float32
        if task == "segment":
            assert targets.dtype == torch.int64 and targets.shape == (4, 96, 96) and targets.max() <= 10
        else:
            assert [sorted(target) for target in targets] == [["boxes", "labels"]] * 4


def test_ground_and_digits_by_hand():
    ground = textured_ground(np.random.default_rng(0), (30, 40))
    assert ground.shape == (30, 40) and ground.min() >= 0 and ground.max() < INK + 30 and ground.std() > 5
    digit = np.zeros((6, 7), np.uint8)
    digit[2:4, 3:6] = 200
    assert trimmed(digit).shape == (2, 3) and trimmed(np.zeros((3, 3), np.uint8)).shape == (3, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_train": 0}, "1 or more scenes for training and test"),
        ({"min_size": 50}, "a digit is at least 4 pixels high"),
        ({"zoom": 1.0}, r"zoom is a share in \[0, 1\)"),
        ({"scene_seed": -1}, "scene_seed is 0 or more"),
        ({"cache": "disk"}, "cache is one of auto, ram, none, got 'disk'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_data("digits", "detect", 0, **options)


def test_digits_are_not_for_classifying():
    with pytest.raises(ValueError, match="data digits is for task segment or detect.*, not classify"):
        build_data("digits", "classify", 0)
