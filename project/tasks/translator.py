"""Image-to-image translation: from a source image to its target image.

N images, C channels of a source, K of a target, (H, W) size in pixels.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from engine.contract.errors import UserError
from engine.contract.heads import MapHead
from engine.contract.mean import Mean
from engine.contract.registry import look_up
from engine.contract.task import Task
from engine.inputs.drawing import in_colour
from engine.inputs.letterbox import pad_to_multiple, unletterbox_map
from engine.inputs.tiles import Tile, blended
from project.ops import fidelity
from project.ops.adversarial import ADVERSARIES, discriminator_accuracy
from project.tasks.discriminator import PatchDiscriminator

MEASURES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {  # per image
    "psnr": fidelity.psnr,
    "ssim": fidelity.ssim,
    "l1": lambda output, target: (output - target).abs().mean(dim=(1, 2, 3)),
}
EXTRA = ("loss", "edges", "true_edges")


class LitTranslator(Task):
    """A backbone and a head that returns an image, alone or against a discriminator; logs loss, PSNR, SSIM and L1.

    Batches are `(source, target)`: normalised float (N, C, H, W), and float (N, K, H, W) in 0..1. Outputs are in 0..1,
    and so are all images given to losses and measures. For comparison, the test also measures the unchanged source,
    and its bicubic enlargement if the source was enlarged.

    With an adversary, one optimiser trains both networks on the sum of their losses; each loss reaches only the weights
    of its own network. Adam and gradient descent treat each weight by itself, so this equals two optimisers that step
    on the same images of the generator. Everything else works as in any training: a batch is one step, gradients are
    accumulated, scaled and clipped (each network by its own norm), and one checkpoint resumes both.

    Args:
        class_names: the name of each channel of the target.
        in_channels: channels of the source.
        image_size: (H, W) of the images in pixels.
        mean: mean of each channel, of values in 0..1, that was subtracted from the source.
        std: standard deviation of each channel, by which the source was divided.
        upscale: factor by which each side of the source was enlarged by repeating pixels.
        backbone: `name` of a backbone and its options.
        head: `name` of a head and its options.
        optim: `name` of an optimiser, its options, and those of `training_options`.
        reconstruction: loss between output and target: l1 or l2.
        adversary: adversarial loss in addition: none, least_squares or hinge.
        adversary_weight: weight of the generator's adversarial loss; the reconstruction has weight 1.
        discriminator_widths: channels after each halving of the size in the discriminator.
        discriminator_norm: its normalisation: batch, group, instance or none.
    """

    task_name = "translate"
    takes = "translate"
    names_are = "Channels made"
    head_kind = MapHead
    best_metric = "val/psnr"
    best_is_highest = True
    columns: ClassVar[Mapping[str, str]] = {"output": "text"}
    takes_any_size = True

    def __init__(
        self,
        class_names: Sequence[str],
        in_channels: int = 3,
        image_size: Sequence[int] = (256, 256),
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        upscale: int = 1,
        backbone: Mapping[str, Any] | None = None,
        head: Mapping[str, Any] | None = None,
        optim: Mapping[str, Any] | None = None,
        reconstruction: str = "l1",
        adversary: Literal["none", "least_squares", "hinge"] = "none",
        adversary_weight: float = 0.01,
        discriminator_widths: Sequence[int] = (32, 64),
        discriminator_norm: str = "instance",
    ) -> None:
        super().__init__()
        if not 0 < adversary_weight < float("inf"):
            raise UserError(f"adversary_weight is above 0, got {adversary_weight}; use adversary none for no adversary")
        if min(image_size) < fidelity.MIN_SIDE:
            raise UserError(
                f"translation needs images of at least {fidelity.MIN_SIDE} pixels per side, got {list(image_size)}"
            )
        self.set_up(
            class_names=class_names,
            in_channels=in_channels,
            image_size=image_size,
            mean=mean,
            std=std,
            upscale=upscale,
            backbone=backbone,
            head=head,
            optim=optim,
            reconstruction=reconstruction,
            adversary=adversary,
            adversary_weight=adversary_weight,
            discriminator_widths=list(discriminator_widths),
            discriminator_norm=discriminator_norm,
        )
        self.reconstruction = look_up("reconstruction", reconstruction, fidelity.RECONSTRUCTIONS)
        self.adversary = None if adversary == "none" else look_up("adversary", adversary, ADVERSARIES)
        self.discriminator: PatchDiscriminator | None = None
        if self.adversary is not None:
            discriminator = PatchDiscriminator(in_channels + len(class_names), discriminator_widths, discriminator_norm)
            self.discriminator = discriminator.to(memory_format=torch.channels_last)
            self.newest_is_best = True  # PSNR prefers blurred images, which an adversary makes only at first
        compared = ("", "source_", *(("bicubic_",) if upscale > 1 else ()))
        names = [f"{prefix}{name}" for prefix in compared for name in MEASURES]
        # Each is a mean over images; a ModuleDict moves them to the device with the task.
        self.means: Mapping[str, Mean] = nn.ModuleDict(  # type: ignore[assignment]
            {name: Mean() for name in [*names, *EXTRA]}
        )
        self._compares = False  # whether the source and its bicubic enlargement are measured as well

    @classmethod
    def own_data_options(cls, hparams: Mapping[str, Any]) -> dict[str, Any]:
        options = super().own_data_options(hparams)
        names = options.pop("classes")  # the channels of an image
        return {**options, "target_channels": len(names)}

    def translate(self, images: Tensor) -> Tensor:
        """Return images (N, K, H, W) in 0..1 for normalised sources (N, C, H, W) of any size.

        They are padded on the right and below to multiples of the coarsest map's stride, and the output is cropped.
        """
        height, width = images.shape[-2:]
        images = pad_to_multiple(images, self.backbone.strides[-1])
        return self(images)[..., :height, :width].float().sigmoid()

    def try_out(self, images: Tensor) -> None:
        output = self.translate(images)
        if self.discriminator is not None:
            self.discriminator(images, output)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, targets = batch
        output = self.translate(images)
        loss = self.reconstruction(output, targets, self.input.restore(images))
        if self.adversary is None or self.discriminator is None:
            self.log("train/loss", loss, on_step=False, on_epoch=True)
            return loss
        # The gradient passes through the discriminator to the generator, without reaching its weights.
        frozen = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        opinion = functional_call(self.discriminator, frozen, (images, output))
        generator = loss + self.hparams["adversary_weight"] * self.adversary.generator_loss(opinion)
        both = self.discriminator(torch.cat([images, images]), torch.cat([targets, output.detach()]))
        real, made = both.chunk(2)
        discriminator = self.adversary.discriminator_loss(real, made)
        total = generator + discriminator
        accuracy = discriminator_accuracy(real, made, self.adversary.threshold)
        means = {
            "train/loss": total,
            "train/reconstruction": loss,
            "train/generator": generator,
            "train/discriminator": discriminator,
            "train/discriminator_acc": accuracy,
        }
        self.log_dict(means, on_step=False, on_epoch=True)
        return total

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip each network by the norm of its own gradients, so that steep ones of one do not slow the other.

        Lightning calls this after it has undone the scaling of fp16.
        """
        if self.discriminator is None or not gradient_clip_val or gradient_clip_algorithm == "value":
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        for parts in ((self.backbone, self.head), (self.discriminator,)):
            weights = [weight for part in parts for weight in part.parameters()]
            nn.utils.clip_grad_norm_(weights, gradient_clip_val)

    def on_validation_epoch_start(self) -> None:
        for mean in self.means.values():
            mean.reset()
        # The source and its enlargement are the same in each epoch, so they are measured only outside of training.
        try:
            self._compares = self.trainer.state.fn != TrainerFn.FITTING
        except RuntimeError:  # the task has no Trainer
            self._compares = True

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, targets = batch
        output, source = self.translate(images), self.input.restore(images)
        self.means["loss"].update(self.reconstruction(output, targets, source), len(images))
        measured = {"edges": fidelity.edge_energy(output), "true_edges": fidelity.edge_energy(targets)}
        compared = {"": output}
        if self._compares:
            compared["source_"] = fidelity.as_channels(source, targets.shape[1])
            if (factor := self.hparams["upscale"]) > 1:
                compared["bicubic_"] = fidelity.as_channels(fidelity.enlarged(source, factor), targets.shape[1])
        for prefix, image in compared.items():
            for name, measure in MEASURES.items():
                measured[f"{prefix}{name}"] = measure(image, targets)
        for name, of_each in measured.items():
            self.means[name].update(of_each)
        if self.each is not None:
            self.each.append(torch.stack([measured[name] for name in self.means if name in measured], dim=1))

    def on_validation_epoch_end(self) -> None:
        self.log_dict({f"val/{name}": value for name, value in self.measured().items()})

    def measured(self) -> dict[str, Any]:
        """Return the metrics since the epoch's start: torchmetrics objects, or values already merged over processes."""
        values = {
            name: mean
            for name, mean in self.means.items()
            if name not in ("edges", "true_edges") and (self._compares or "_" not in name)
        }
        sharpness = (self.means["edges"].compute() / self.means["true_edges"].compute()).sqrt()
        return {**values, "sharpness": sharpness}

    def measured_with(self, each: Tensor, times: Tensor) -> dict[str, float]:
        names = [name for name in self.means if name != "loss" and (self._compares or "source_" not in name)]
        measured = dict(zip(names, (times @ each.double() / times.sum()).tolist(), strict=True))
        edges, true_edges = measured.pop("edges"), measured.pop("true_edges")
        return {**measured, "sharpness": (edges / true_edges) ** 0.5 if true_edges else float("nan")}

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Return the output `image` (N, K, H, W) in 0..1, of the input's size."""
        return {"image": self.translate(images)}

    def mirrored(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"image": outputs["image"].flip(-1)}

    def raw_of(self, outputs: Mapping[str, Tensor]) -> Tensor:
        return outputs["image"].logit(eps=1e-6)  # finite also where it is black or white

    def answers(self, outputs: Mapping[str, Tensor], sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        """Return each output `image` (K, H, W), uint8, at the size of its file, with its `width` and `height`."""
        each = zip(outputs["image"], sizes, strict=True)
        return [_answer(_as_bytes(at_size(output, size))) for output, size in each]

    def answer_of_tiles(
        self, tiles: Iterable[tuple[Tile, Mapping[str, Tensor]]], size: tuple[int, int]
    ) -> dict[str, Any]:
        scaled = ((tile, at_size(outputs["image"], (tile.high, tile.wide))) for tile, outputs in tiles)
        return _answer(torch.cat([_as_bytes(band) for band in blended(scaled, size[1])], dim=1))

    def rows(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{"output": f"{answer['width']} x {answer['height']}"}]

    def draw(self, image: Tensor, answer: Mapping[str, Any]) -> Tensor:
        made: Tensor = answer["image"]
        return made.expand(3, -1, -1)

    def pictures(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        shown = {"source": self.input.restore(images), "output": self.translate(images), "target": targets}
        return {title: in_colour(image) for title, image in shown.items()}


def at_size(output: Tensor, size: tuple[int, int]) -> Tensor:
    """Return an output (K, h, w) at the size (H, W) of its file; one of another size is letterboxed: (K, H, W)."""
    if output.shape[1:] == size:
        return output
    return F.interpolate(unletterbox_map(output, size)[None], size=size, mode="bilinear", antialias=True)[0]


def _as_bytes(output: Tensor) -> Tensor:
    return (255 * output).round().to(torch.uint8).cpu()


def _answer(image: Tensor) -> dict[str, Any]:
    return {"width": image.shape[2], "height": image.shape[1], "image": image}
