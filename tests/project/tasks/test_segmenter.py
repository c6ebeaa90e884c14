import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from engine.inference.model import of_task
from engine.inference.predict import Cut, Predictions
from engine.inputs.drawing import to_image
from engine.inputs.letterbox import IGNORE
from engine.inputs.tiles import Tile
from project import LitSegmenter
from tests.project.tasks.test_contract import quiet

SMALL = {"backbone": {"name": "cnn", "widths": [4, 8]}, "head": {"name": "fcn", "width": 8}}


class Scores(nn.Module):
    """In place of a backbone and a head: makes scores of the image itself."""

    def __init__(self, task, function):
        super().__init__()
        self.function = function
        task.backbone, task.head = nn.Identity(), self

    def forward(self, images, size):
        return self.function(images)


def built(names=("ground", "thing"), **options):
    return LitSegmenter(names, in_channels=1, image_size=(24, 32), mean=[0.0], std=[1.0], **SMALL, **options)


def test_measures_are_over_all_pixels_of_all_batches_and_ignored_ones_do_not_count():
    task = built(("a", "b", "never"))
    Scores(task, lambda images: images)
    task.on_validation_epoch_start()
    right = torch.tensor([[9.0, 0, 0], [0, 9, 0]])
    scores = right[torch.tensor([0, 0, 1, 1])].T.view(1, 3, 1, 4)  # says a, a, b, b
    task.validation_step((scores, torch.tensor([[[0, 0, 0, 1]]])), 0)
    task.validation_step((scores, torch.tensor([[[0, IGNORE, 1, IGNORE]]])), 0)
    measured = task.measured()
    assert measured["acc"].item() == pytest.approx(5 / 6)
    assert measured["miou"].item() == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert task.measured_by_class() == pytest.approx({"iou/a": 3 / 4, "iou/b": 2 / 3})


@pytest.mark.parametrize("dice", [0.0, 1.0])
def test_an_image_without_any_class_does_no_harm(dice):
    task = built(dice=dice)
    images, masks = torch.randn(2, 1, 24, 32), torch.full((2, 24, 32), IGNORE)
    quiet(max_epochs=1).fit(task, DataLoader([(images, masks), (images, masks.clone().fill_(1))], batch_size=None))
    assert all(p.isfinite().all() for p in task.parameters())
    task.on_validation_epoch_start()
    task.validation_step((images, masks), 0)
    assert torch.isfinite(task.loss.compute())


def test_an_epoch_without_any_class_is_an_error():
    nothing = DataLoader([(torch.randn(2, 1, 24, 32), torch.full((2, 24, 32), IGNORE))] * 2, batch_size=None)
    with pytest.raises(
        ValueError, match="no pixel of the training images' masks has a class: there is nothing to learn"
    ):
        quiet(max_epochs=1).fit(built(), nothing)


def test_one_batch_is_learned_by_heart():
    torch.manual_seed(0)
    images = torch.zeros(4, 1, 24, 32)
    masks = torch.zeros(4, 24, 32, dtype=torch.int64)
    for i in range(4):
        images[i, :, 4 : 12 + i, 6 : 20 + i], masks[i, 4 : 12 + i, 6 : 20 + i] = 1.0, 1
    task = built(optim={"schedule": "constant", "lr": 0.02})
    quiet(max_steps=80).fit(task, DataLoader([(images, masks)] * 80, batch_size=None))
    task.eval().on_validation_epoch_start()
    with torch.no_grad():
        task.validation_step((images, masks), 0)
    assert task.measured()["miou"] > 0.95


def test_an_answer_has_the_size_of_the_image_in_its_file():
    task = built().eval()
    with torch.no_grad():
        answer = task.answers(task.outputs(torch.randn(1, 1, 24, 32)), [(100, 40)])[0]
    assert answer["mask"].shape == (100, 40) and answer["mask"].dtype == torch.uint8
    assert sum(answer["shares"].values()) == pytest.approx(1, abs=1e-5)


def test_what_was_laid_around_an_image_is_not_part_of_its_answer():
    """An image of 24 x 8 stands in the middle of 24 x 32; the network says 'thing' from column 18 on."""
    task = built().eval()
    Scores(task, lambda images: torch.cat([-images, images], dim=1))
    images = torch.full((1, 1, 24, 32), -5.0)
    images[..., 18:] = 5.0
    mask = task.answers(task.outputs(images), [(48, 16)])[0]["mask"]
    assert (mask[:, :12] == 0).all() and (mask[:, 12:] == 1).all()


def test_dice_is_added():
    torch.manual_seed(0)
    plain, with_dice = built(), built(dice=2.0)
    logits, masks = torch.randn(2, 2, 4, 4), torch.randint(0, 2, (2, 4, 4))
    from project.ops.segmentation import dice_loss

    difference = with_dice._loss(logits, masks) - plain._loss(logits, masks)
    torch.testing.assert_close(difference, 2 * dice_loss(logits, masks))
    with pytest.raises(ValueError, match="dice is a weight, 0 or more, got -1"):
        built(dice=-1)


@pytest.mark.parametrize(("first", "has_colour"), [("sky", True), ("Background", False), ("0", False)])
def test_the_first_class_has_a_colour_unless_it_is_the_ground(first, has_colour):
    names = [first, *"abcdefg"]
    about = {"in_channels": 1, "image_size": (16, 16), "mean": [0.5], "std": [0.5]}
    task = LitSegmenter(class_names=names, **about, backbone={"name": "cnn", "widths": [4, 4]})
    legend = task.legend()
    assert list(legend) == [*names[1:], *([first] if has_colour else [])]
    assert len(set(legend.values())) == len(legend)
    image = torch.full((3, 16, 16), 100, dtype=torch.uint8)
    drawn = task.draw(image, {"mask": torch.zeros(16, 16, dtype=torch.uint8)})
    assert torch.equal(drawn, image) != has_colour


@pytest.mark.parametrize("overlap", [0.0, 0.3])
def test_a_picture_in_tiles_has_the_answer_of_a_network_that_sees_it_whole(tmp_path, overlap):
    """That scores each pixel by itself."""
    task = built(("dark", "grey", "light"))
    Scores(task, lambda images: torch.cat([-40 * (images - tone).square() for tone in (0.2, 0.5, 0.8)], dim=1))
    pixels = torch.randint(0, 256, (1, 70, 90), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    to_image(pixels).save(tmp_path / "a.png")
    with torch.no_grad():
        expected = task.outputs(task.input.prepare(pixels[None]))["probabilities"].argmax(dim=1)[0]
    task.hparams["image_size"] = [24, 24]
    task.__dict__.pop("input")
    (prediction,) = Predictions(of_task(task, "cpu"), batch_size=3, cut=Cut(24, overlap)).of([tmp_path / "a.png"])
    assert torch.equal(prediction.answer["mask"], expected.to(torch.uint8))
    assert sum(prediction.answer["shares"].values()) == pytest.approx(1, abs=1e-5)


def test_probabilities_of_a_tile_of_another_size_than_the_training_images_are_scaled_to_it():
    tiles = [(Tile(0, 0, 48, 64), {"probabilities": torch.ones(2, 24, 32) * torch.tensor([0.4, 0.6])[:, None, None]})]
    answer = built().answer_of_tiles(tiles, (48, 64))
    assert answer["shares"] == {"thing": 1.0} and answer["mask"].shape == (48, 64)
