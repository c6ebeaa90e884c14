import math

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.ops import box_iou, masks_to_boxes

from engine.contract.heads import BoxHead
from engine.errors import UsageError
from engine.inference.model import Model
from engine.inference.predict import Cut, Predictions
from engine.inference.views import join_views
from engine.inputs.drawing import to_image
from engine.inputs.views import VIEWS, View
from project import LitDetector
from project.heads.yolox import YOLOXHead
from project.tasks.hits import Curve, Hits
from tests.project.tasks.test_contract import quiet

SMALL = {"backbone": {"name": "cnn", "widths": [8, 16, 16]}, "head": {"name": "yolox", "levels": 2, "width": 16}}


def built(names=("a", "b"), **options):
    return LitDetector(names, in_channels=1, image_size=(64, 64), mean=[0.0], std=[1.0], **SMALL, **options)


def loader(images, targets, times):
    """Return a loader of one batch, `times` times."""
    return DataLoader([(images, targets)] * times, batch_size=None)


def objects(*boxes, labels=()):
    return {"boxes": torch.tensor(boxes).float().view(-1, 4), "labels": torch.tensor(labels).long()}


def found(boxes, scores, labels):
    return {**objects(*boxes, labels=labels), "scores": torch.tensor(scores)}


def batch(*images):
    """Return what was found in some images as outputs of a task, which have as many rows each."""
    return {key: torch.stack([image[key] for image in images]) for key in ("boxes", "scores", "labels")}


def measured(task, answers, targets):
    """Return what is measured when the network answers so."""
    task.on_validation_epoch_start()
    task.precision_of_boxes.update(answers, targets)
    task.hits.update(answers, targets)
    task.loss.update(0.0)
    return task.measured(), task.measured_by_class()


@pytest.mark.parametrize("kind", ["flip", "multiscale"])
def test_boxes_of_several_views_are_joined(kind):
    """The objects of all views come out, and each object once."""
    torch.manual_seed(0)
    task = built(score_threshold=1e-4).eval()
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        alone = []
        for view in VIEWS[kind]:
            seen = view.of(images, task.backbone.strides[-1])
            alone.append(view.boxes_back(task(seen).boxes, seen.shape[2:], images.shape[2:]))
        join_views(task, kind)
        together, outputs = task(images), task.outputs(images)
    assert torch.equal(together.boxes, torch.cat(alone, dim=1))
    assert len(together.centres) == len(together.strides) == together.boxes.shape[1]
    for i in range(2):
        kept = outputs["scores"][i] > 0
        boxes, labels = outputs["boxes"][i][kept], outputs["labels"][i][kept]
        same = (labels[:, None] == labels) & (box_iou(boxes, boxes) > task.head.nms_iou)
        assert kept.sum() > 10 and torch.equal(same, torch.eye(len(boxes), dtype=torch.bool))
        assert (boxes[:, None] == together.boxes[i]).all(dim=2).any(dim=1).all()


def test_mirrored_images_have_the_mirrored_boxes_when_both_are_seen():
    torch.manual_seed(0)
    task = built(score_threshold=1e-4).eval()
    join_views(task, "flip")
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        one, other = task.outputs(images), task.outputs(images.flip(-1))
    mirrored = View(mirrored=True).boxes_back(other["boxes"], (64, 64), (64, 64))
    torch.testing.assert_close(one["scores"], other["scores"])
    for i in range(2):
        apart = (one["boxes"][i][:, None] - mirrored[i]).abs().amax(dim=2).amin(dim=1)
        assert apart[one["scores"][i] > 0].max() < 1e-3


def test_a_head_that_cannot_join_views_is_named(monkeypatch):
    monkeypatch.setattr(YOLOXHead, "joined", BoxHead.joined)
    with pytest.raises(UsageError, match=r"--tta flip: this network cannot take the views \(its head cannot join"):
        join_views(built().eval(), "flip")


def test_average_precision_by_hand():
    """Class a: found, before a wrong one. Class b: one of two found, and overlapping by 0.82 only."""
    targets = [objects([0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50], labels=[0, 1, 1])]
    answers = [found([[0, 0, 10, 10], [50, 0, 60, 10], [20, 20, 30, 28.2]], [0.9, 0.8, 0.7], [0, 0, 1])]
    values, each = measured(built(), answers, targets)
    # COCO looks at 101 points of recall: 51 of them are at most 1/2. The overlap of 0.82 counts up to 0.80 of
    # 0.50, 0.55, ... 0.95: at 7 of 10.
    assert values["map_50"].item() == pytest.approx((1 + 51 / 101) / 2, abs=1e-3)
    assert each == pytest.approx({"map/a": 1.0, "map/b": 0.7 * 51 / 101}, abs=1e-3)
    assert values["map"].item() == pytest.approx((1 + 0.7 * 51 / 101) / 2, abs=1e-3)


def test_images_without_objects_count_what_is_wrongly_found_in_them():
    targets = [objects([0, 0, 10, 10], labels=[0]), objects()]
    right = found([[0, 0, 10, 10]], [0.5], [0])
    nothing = found([], [], [])
    wrong = found([[5, 5, 20, 20]], [0.9], [0])
    task = built()
    assert measured(task, [right, wrong], targets)[0]["map"] == pytest.approx(0.5, abs=1e-3)
    assert measured(task, [right, nothing], targets)[0]["map"] == pytest.approx(1, abs=1e-3)  # not of all that was seen


def test_without_any_object_there_is_nothing_to_measure():
    values, each = measured(built(), [found([], [], [])], [objects()])
    assert values["map"].isnan() and values["map_50"].isnan() and each == {}


def test_the_score_of_the_highest_f1_by_hand():
    """Two images, four objects. Of six found, three are there: the second of a pair counts as wrong."""
    hits = Hits()
    targets = [
        objects([0, 0, 10, 10], [20, 20, 30, 30], labels=[0, 1]),
        objects([0, 0, 8, 8], [30, 0, 40, 9], labels=[0, 0]),
    ]
    hits.update(
        [
            found([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]], [0.9, 0.8, 0.6], [0, 0, 0]),  # again; wrong class
            found([[0, 0, 8, 4.1], [30, 0, 40, 9], [50, 50, 60, 60]], [0.7, 0.3, 0.1], [0, 0, 0]),
        ],
        targets,
    )
    curve = hits.compute()
    assert curve.is_hit.tolist() == [True, False, True, False, True, False] and curve.num_true == 4
    # F1 is twice the hits over those found and those there: 2/5, 2/6, 4/7, 4/8, 6/9, 6/10.
    assert curve.best_score() == pytest.approx(0.2)
    assert curve.from_score(0.2) == (3 / 5, 3 / 4) and curve.from_score(0.65) == (2 / 3, 2 / 4)
    assert curve.from_score(0.95) == (0, 0)
    hits.reset()
    hits.update([found([], [], [])], [objects()])
    assert hits.compute().best_score() is None and math.isnan(hits.compute().from_score(0.5)[1])


@pytest.mark.parametrize("count", [0, 2])
def test_what_several_processes_joined_is_read_as_well(count):
    hits = Hits()
    hits.update([found([], [], [])], [objects()])
    hits.scores, hits.is_hit = torch.rand(count), torch.ones(count)  # torchmetrics makes one tensor of the lists
    assert len(hits.compute().scores) == count


def test_objects_of_one_score_are_believed_together():
    curve = Curve(torch.tensor([0.8, 0.5, 0.5, 0.5]), torch.tensor([True, True, False, False]), 2)
    assert curve.best_score() == pytest.approx(0.65)  # F1 is 2/3; of all four it is 4/6 as well, of two it cannot be
    curve = Curve(torch.tensor([0.5, 0.5, 0.5]), torch.tensor([True, True, False]), 2)
    assert curve.best_score() == 0.25


@pytest.mark.parametrize("score_threshold", [None, 0.45])
def test_validation_chooses_the_score_threshold_and_the_checkpoint_keeps_it(tmp_path, score_threshold):
    torch.manual_seed(0)
    images = torch.zeros(2, 1, 64, 64)
    images[0, :, 8:30, 10:40] = 1
    images[1, :, 30:60, 4:24] = -1
    targets = [objects([10, 8, 40, 30], labels=[0]), objects([4, 30, 24, 60], labels=[1])]
    task = built(optim={"schedule": "constant", "lr": 0.01}, score_threshold=score_threshold)
    trainer = quiet(max_steps=60, check_val_every_n_epoch=1)
    trainer.fit(task, loader(images, targets, 60), loader(images, targets, 1))
    chosen = task.hparams["score_threshold"]
    assert chosen == (task.hits.compute().best_score() if score_threshold is None else 0.45)
    assert chosen != 0.3  # that of an untrained one
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    loaded = LitDetector.load_from_checkpoint(tmp_path / "x.ckpt")
    assert loaded.hparams["score_threshold"] == chosen
    trainer.validate(loaded, loader(images, targets, 1), verbose=False)
    assert loaded.hparams["score_threshold"] == chosen  # measuring is no training
    again = built(optim={"schedule": "constant", "lr": 0.01}, score_threshold=score_threshold)
    again.take_choices(loaded.hparams)
    assert again.hparams["score_threshold"] == chosen


def test_images_without_objects_can_be_trained_on():
    task = built()
    quiet(max_steps=2).fit(task, loader(torch.randn(2, 1, 64, 64), [objects(), objects()], 2))
    assert all(p.isfinite().all() for p in task.parameters())


def test_one_batch_is_learned_by_heart():
    torch.manual_seed(0)
    images = torch.zeros(2, 1, 64, 64)
    images[0, :, 8:30, 10:40] = 1
    images[1, :, 30:60, 4:24] = -1
    targets = [objects([10, 8, 40, 30], labels=[0]), objects([4, 30, 24, 60], labels=[1])]
    task = built(optim={"schedule": "constant", "lr": 0.01})
    quiet(max_steps=120).fit(task, loader(images, targets, 120))
    task.train().on_validation_epoch_start()  # the batch's own statistics, as while it learned
    with torch.no_grad():
        task.validation_step((images, targets), 0)
    assert task.measured()["map_50"] > 0.99


def test_positions_are_in_pixels_of_the_image_in_its_file():
    """An image of 32 x 128 is scaled to 16 x 64 and lies in the middle of 64 x 64, 24 pixels from the top."""
    task = built()
    outputs = batch(found([[10, 28, 30, 36], [0, 0, 64, 64], [0, 0, 0, 0]], [0.9, 0.4, 0], [1, 0, 0]))
    listed = task.answers(outputs, [(32, 128)])[0]["objects"]
    assert [o["class"] for o in listed] == ["b", "a"]
    assert [listed[0][side] for side in ("x0", "y0", "x1", "y1")] == [20, 8, 60, 24]
    assert [listed[1][side] for side in ("x0", "y0", "x1", "y1")] == [0, 0, 128, 32]  # cut off at the border


def test_what_is_less_certain_than_asked_for_is_left_out_of_an_answer():
    outputs = batch(found([[0, 0, 9, 9], [20, 0, 29, 9]], [0.9, 0.4], [1, 0]))
    assert [o["class"] for o in built(score_threshold=0.5).answers(outputs, [(64, 64)])[0]["objects"]] == ["b"]


def test_an_exported_file_can_be_asked_for_fewer_objects_only():
    task = built(score_threshold=0.4)
    with pytest.raises(ValueError, match="has no objects that score below 0.4: use the checkpoint"):
        task.ask_with("score_threshold", 0.3, is_program=True)
    task.ask_with("score_threshold", 0.5, is_program=True)
    assert task.hparams["score_threshold"] == 0.5
    task.ask_with("score_threshold", 0.3)
    assert task.hparams["score_threshold"] == 0.3


def test_objects_of_equal_scores_are_compared_in_one_order():
    a, b = found([[0, 0, 9, 9]], [0.9], [1]), found([[20, 0, 29, 9]], [0.9], [0])
    unused = found([[0, 0, 0, 0]] * 2, [0, 0], [0, 0])
    join = lambda *parts: batch({key: torch.cat([part[key] for part in parts]) for key in a})  # noqa: E731
    ours, theirs = join(a, b, unused), join(b, a, unused)
    for key, value in built().in_order_of(theirs, ours).items():
        assert torch.equal(value, ours[key])
    missing = join(a, unused, found([[0, 0, 0, 0]], [0], [0]))
    for key, value in built().in_order_of(missing, ours).items():
        assert torch.equal(value, missing[key])  # as it was: one of them has no partner


def test_an_image_without_objects_has_a_row_too():
    assert built().rows({"objects": []}) == [dict.fromkeys(("class", "score", "x0", "y0", "x1", "y1"))]


def test_a_score_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"score_threshold is a score in \(0, 1\), got 1.5"):
        built(score_threshold=1.5)


def test_images_counted_several_times_have_precision_and_recall_by_hand(monkeypatch):
    """One of two objects is found, beside a wrong one and one below the threshold; then an image where nothing is."""
    task = built(score_threshold=0.5)
    targets = [objects([0, 0, 10, 10], [20, 20, 30, 30], labels=[0, 1]), objects()]
    first = found([[0, 0, 10, 10], [50, 0, 60, 10], [20, 20, 30, 30]], [0.9, 0.8, 0.4], [0, 0, 1])
    second = found([[5, 5, 20, 20], [0, 0, 1, 1], [0, 0, 1, 1]], [0.9, 0.0, 0.0], [0, 0, 0])
    monkeypatch.setattr(task.head, "decode", lambda raw, min_score: batch(first, second))
    monkeypatch.setattr(task.head, "loss", lambda *rest: {"all": torch.tensor(0.0)})
    task.each = []
    values = quiet().test(task, loader(torch.zeros(2, 1, 64, 64), targets, 1), verbose=False)[0]
    rows = torch.cat(task.each)
    assert rows.tolist() == [[1, 2, 2], [0, 1, 0]]
    assert task.measured_with(rows, torch.tensor([1.0, 1.0]).double()) == pytest.approx(
        {name: values[f"test/{name}"] for name in ("precision", "recall")}
    )
    twice = task.measured_with(rows, torch.tensor([1.0, 2.0]).double())
    assert twice == pytest.approx({"precision": 1 / 4, "recall": 1 / 2})


@pytest.mark.parametrize("side", [64, 128])
def test_objects_of_a_picture_in_tiles_are_found_once_each_at_their_place(tmp_path, side):
    """By a network that finds what is white in a tile, cut or not."""
    pixels = torch.zeros(1, 200, 300, dtype=torch.uint8)
    places = [[10, 20, 30, 40], [120, 4, 134, 22], [40, 96, 66, 110], [250, 170, 300, 200], [200, 60, 220, 70]]
    for left, top, right, bottom in places:
        pixels[:, top:bottom, left:right] = 255
    to_image(pixels).save(tmp_path / "a.png")
    task = built()

    def white(images):
        each = []
        for image in images:
            boxes = masks_to_boxes(parts_of(image[0] > 128)).float() + torch.tensor([0, 0, 1, 1])
            row = found(boxes.tolist(), [0.5 + box[0].item() / 1e4 for box in boxes], [1] * len(boxes))
            each.append(
                {key: torch.cat([value, value.new_zeros(9, *value.shape[1:])])[:9] for key, value in row.items()}
            )
        return batch(*each)

    model = Model(task, white, is_program=False)
    (prediction,) = Predictions(model, batch_size=2, cut=Cut(side, 0.5)).of([tmp_path / "a.png"])
    boxes = [[o["x0"], o["y0"], o["x1"], o["y1"]] for o in prediction.answer["objects"]]
    assert len(boxes) == len(places)
    for box, place in zip(sorted(boxes), sorted(places), strict=True):
        assert box == pytest.approx(place, abs=side / 64)
    assert {o["class"] for o in prediction.answer["objects"]} == {"b"}


def parts_of(mask):
    """Return the connected parts (M, H, W) of a mask of rectangles."""
    parts = []
    for y, x in mask.nonzero().tolist():
        if not any(part[y, x] for part in parts):
            part = torch.zeros_like(mask)
            below, right = (
                int(line.long().cumprod(0).sum()) for line in (mask[y:, x], mask[y, x:])
            )  # of ones before the first zero
            part[y : y + below, x : x + right] = True
            parts.append(part)
    return torch.stack(parts) if parts else mask.new_zeros(0, *mask.shape)
