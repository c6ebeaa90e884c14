import copy

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from engine.inference.model import of_task
from engine.inference.predict import Cut, Predictions
from engine.inputs.drawing import to_image
from engine.inputs.tiles import Tile
from project import LitTranslator
from project.ops.adversarial import ADVERSARIES
from project.tasks.discriminator import PatchDiscriminator
from tests.project.tasks.test_contract import quiet

SMALL = {"backbone": {"name": "cnn", "widths": [4, 8]}, "head": {"name": "unet", "width": 4}}


def built(adversary="none", channels=1, **options):
    torch.manual_seed(0)
    about = {"class_names": ["grey"], "in_channels": channels, "image_size": (28, 28)}
    return LitTranslator(
        **{**about, "mean": [0.3] * channels, "std": [0.5] * channels, **SMALL, **options},
        adversary=adversary,
        discriminator_widths=[4, 8],
    )


def batches(count, channels=1):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(4, channels, 28, 28, generator=generator), torch.rand(4, 1, 28, 28, generator=generator))
        for _ in range(count)
    ]


def loader(pairs):
    return DataLoader(pairs, batch_size=None)


@pytest.fixture(params=ADVERSARIES)
def adversary(request):
    return request.param


@pytest.mark.parametrize("clip", [None, 0.05])
def test_one_optimiser_over_both_networks_does_what_two_do(adversary, clip):
    """A loop as it is written with two optimisers, for the same batches: equal weights after some steps.

    In double precision: a pixel or an activation on the other side of a kink would change a whole gradient.
    """
    task = built(adversary, optim={"schedule": "constant", "lr": 0.01, "beta1": 0.5}, adversary_weight=0.3)
    other = copy.deepcopy(task).double()
    pairs = [(images.double(), targets.double()) for images, targets in batches(4)]
    quiet(max_epochs=1, gradient_clip_val=clip, precision="64-true").fit(task, loader(pairs))

    sides = ([*other.backbone.parameters(), *other.head.parameters()], list(other.discriminator.parameters()))
    optimisers = []
    for side in sides:
        groups = [
            {"params": [p for p in side if p.ndim > 1], "weight_decay": 0.01},
            {"params": [p for p in side if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimisers.append(torch.optim.AdamW(groups, lr=0.01, betas=(0.5, 0.999)))
    losses = ADVERSARIES[adversary]
    for images, targets in pairs:
        made = other.translate(images)
        generator = (made - targets).abs().mean() + 0.3 * losses.generator_loss(other.discriminator(images, made))
        real_scores = other.discriminator(images, targets)
        made_scores = other.discriminator(images, made.detach())
        own = torch.autograd.grad(generator, sides[0])
        opposite = torch.autograd.grad(losses.discriminator_loss(real_scores, made_scores), sides[1])
        for side, gradients, optimiser in zip(sides, (own, opposite), optimisers, strict=True):
            for weight, gradient in zip(side, gradients, strict=True):
                weight.grad = gradient
            if clip:
                nn.utils.clip_grad_norm_(side, clip)
            optimiser.step()
    for (name, weight), expected in zip(task.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-8, atol=1e-8, msg=lambda text, n=name: f"{n}: {text}")


def test_a_batch_is_one_step_and_both_losses_are_logged(adversary):
    task = built(adversary)
    trainer = quiet(max_epochs=2, accumulate_grad_batches=2, gradient_clip_val=1.0)
    trainer.fit(task, loader(batches(6)), loader(batches(2)))
    assert trainer.global_step == 6  # of twelve batches
    logged = trainer.callback_metrics
    parts = {"train/reconstruction", "train/generator", "train/discriminator", "train/discriminator_acc"}
    assert parts <= logged.keys() and 0 <= logged["train/discriminator_acc"] <= 1
    assert logged["train/loss"].item() == pytest.approx(
        logged["train/generator"].item() + logged["train/discriminator"].item(), rel=1e-5
    )


def test_without_an_adversary_there_is_no_discriminator():
    task = built()
    assert not any("discriminator" in name for name in task.state_dict())
    trainer = quiet(max_epochs=1)
    trainer.fit(task, loader(batches(2)), loader(batches(2)))
    assert {name for name in trainer.callback_metrics if name.startswith("train/")} == {"train/loss"}


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_every_precision_trains_both_networks(adversary, precision):
    pl.seed_everything(0, verbose=False)
    task = built(adversary)
    before = {name: value.clone() for name, value in task.named_parameters()}
    kind = {"bf16-true": torch.bfloat16, "64-true": torch.float64}.get(precision, torch.float32)
    pairs = [(images.to(kind), targets) for images, targets in batches(2)]
    quiet(max_steps=2, precision=precision).fit(task, loader(pairs), loader(pairs))
    for name, value in task.named_parameters():
        assert value.isfinite().all() and not torch.equal(value.float(), before[name]), name


class Fixed(nn.Module):
    """In place of a backbone and a head: makes an output of the source itself."""

    def __init__(self, task, function):
        super().__init__()
        self.function, self.strides = function, [1]
        task.backbone, task.head = nn.Identity(), self
        task.backbone.strides = [1]

    def forward(self, images, size):
        return self.function(images)


def test_the_test_measures_the_source_and_bicubic_interpolation_as_well():
    task = built(upscale=2).eval()
    small = torch.rand(3, 1, 14, 14)
    source = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    target = nn.functional.interpolate(small, scale_factor=2, mode="bicubic").clamp(0, 1)
    Fixed(task, lambda images: torch.where(images.isnan(), 0, torch.logit(target, 1e-6)))
    images = (source - 0.3) / 0.5
    task.on_validation_epoch_start()
    task.validation_step((images, target), 0)
    measured = {name: float(getattr(value, "compute", lambda v=value: v)()) for name, value in task.measured().items()}
    assert measured["psnr"] > 90 and measured["ssim"] == pytest.approx(1, abs=1e-3) and measured["l1"] < 1e-4
    assert measured["sharpness"] == pytest.approx(1, abs=1e-3)
    assert measured["bicubic_psnr"] > 80
    expected = (-10 * (source - target).square().mean(dim=(1, 2, 3)).log10()).mean().item()
    assert measured["source_psnr"] == pytest.approx(expected, rel=1e-3)
    assert "bicubic_psnr" not in built().means


def test_a_blurred_output_is_less_sharp():
    task = built().eval()
    target = (torch.rand(2, 1, 28, 28) > 0.5).float()
    Fixed(task, lambda images: torch.logit(nn.functional.avg_pool2d(target, 3, 1, 1), 1e-6))
    task.on_validation_epoch_start()
    task.validation_step((torch.zeros(2, 1, 28, 28), target), 0)
    assert task.measured()["sharpness"] < 0.5


@pytest.mark.parametrize("size", [(28, 28), (5, 7), (61, 45), (100, 33)])
def test_an_image_of_any_size_is_answered_in_that_size(size):
    task = built().eval()
    images = torch.randn(2, 1, *size)
    with torch.no_grad():
        answers = task.answers(task.outputs(images), [size, size])
    for answer in answers:
        assert answer["image"].shape == (1, *size) and answer["image"].dtype == torch.uint8
    assert task.rows(answers[0]) == [{"output": f"{size[1]} x {size[0]}"}]


def test_an_image_is_answered_as_if_its_last_row_and_column_went_on():
    """As far as the coarsest map, of every fourth pixel here, asks for; else maps of several sizes do not match."""
    task = built().eval()
    images = torch.randn(1, 1, 61, 45)
    longer = nn.functional.pad(images, (0, 3, 0, 3), mode="replicate")
    with torch.no_grad():
        torch.testing.assert_close(task.translate(images), task.translate(longer)[..., :61, :45])


def test_a_fitted_image_is_answered_in_the_size_of_its_file():
    """An image of 28 x 14 stands in the middle of 28 x 28; around it the network says white, in it black."""
    task = built().eval()
    fitted = torch.full((1, 1, 28, 28), 20.0)
    fitted[..., 7:21] = -20.0
    Fixed(task, lambda images: images)
    answer = task.answers(task.outputs(fitted), [(56, 28)])[0]
    assert answer["image"].shape == (1, 56, 28) and (answer["image"] == 0).all()


def test_one_batch_is_learned_by_heart():
    target = torch.zeros(4, 1, 28, 28)
    for i in range(4):
        target[i, :, 5 + i : 20, 8 : 15 + 2 * i] = 1
    task = built(optim={"schedule": "constant", "lr": 0.02})
    quiet(max_steps=150).fit(task, loader([(target - 0.3, target)] * 150))
    task.eval().on_validation_epoch_start()
    with torch.no_grad():
        task.validation_step((target - 0.3, target), 0)
    assert task.means["psnr"].compute() > 20


def test_a_patch_is_as_large_as_the_discriminator_says():
    for widths, side in (([4, 8], 18), ([4, 8, 8], 38)):
        network = PatchDiscriminator(2, widths, "none")
        source = torch.zeros(1, 1, 128, 128, requires_grad=True)
        scores = network(source, torch.rand(1, 1, 128, 128))
        scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
        rows = source.grad[0, 0].abs().sum(dim=1).nonzero()
        assert rows.max() - rows.min() + 1 == side


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adversary": "wasserstein"}, "unknown adversary 'wasserstein'.*choose from: least_squares, hinge"),
        ({"reconstruction": "l3"}, "unknown reconstruction 'l3'; choose from: l1, l2"),
        ({"adversary": "hinge", "adversary_weight": 0.0}, "adversary_weight is above 0, got 0.0"),
        ({"image_size": (8, 28)}, r"at least 11 pixels per side, got \[8, 28\]"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        built(**options)


@pytest.mark.parametrize("side", [24, 28, 200])
@pytest.mark.parametrize("tone", [None, 70])
def test_a_picture_in_tiles_has_the_answer_of_a_network_that_sees_it_whole(tmp_path, side, tone):
    """That changes each pixel by itself; a picture of one tone stays one."""
    task = built()
    task.translate = lambda images: 1 - task.input.restore(images)
    pixels = torch.randint(0, 256, (1, 70, 90), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    if tone is not None:
        pixels.fill_(tone)
    to_image(pixels).save(tmp_path / "a.png")
    predictions = Predictions(of_task(task, "cpu"), batch_size=3, whole=True, cut=Cut(side, 0.3))
    (prediction,) = predictions.of([tmp_path / "a.png"])
    assert torch.equal(prediction.answer["image"], 255 - pixels)
    assert (prediction.answer["height"], prediction.answer["width"]) == (70, 90)


def test_an_output_of_a_tile_of_another_size_than_the_training_images_is_scaled_to_it():
    answer = built().answer_of_tiles([(Tile(0, 0, 56, 40), {"image": torch.full((1, 28, 28), 0.2)})], (56, 40))
    assert torch.equal(answer["image"], torch.full((1, 56, 40), 51, dtype=torch.uint8))
