"""Any timm model, by its timm name, as a backbone.

N images, C channels, (H, W) size in pixels.
"""

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from engine.contract.backbone import Backbone
from engine.contract.errors import UserError
from engine.contract.registry import brief, closest
from engine.shortcuts import without_hub_retries

ENDINGS = (".safetensors", ".pth", ".pt", ".bin", "/model.safetensors", "/pytorch_model.bin")  # of weight files


class TimmBackbone(Backbone):
    """The feature maps of a timm model, in (N, C, h, w) layout, whichever the model uses.

    Args:
        in_channels: channels of the images; the first layer of pretrained weights is adapted to them.
        name: the model's name in timm, such as resnet18 or convnext_tiny.fb_in1k.
        image_size: (H, W) of the images in pixels, which some transformers need.
        pretrained: start from trained weights: true for timm's, from its hub or the local cache; or the path of a
            weight file, or of a folder with NAME.safetensors, NAME.pth or NAME/ in it.
        dropout: probability, in [0, 1), of dropping a whole residual branch (timm's drop path).
    """

    def __init__(
        self,
        in_channels: int,
        name: str,
        image_size: Sequence[int] | None = None,
        pretrained: bool | str = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.name = name
        self.in_channels = in_channels
        self.options: dict[str, Any] = {"drop_path_rate": dropout} if dropout else {}
        known = timm.get_pretrained_cfg(name)
        self.has_fixed_size = known is not None and bool(known.fixed_input_size)
        if self.has_fixed_size and image_size is not None:
            self.options["img_size"] = tuple(image_size)
        try:
            own: dict[str, Any] = {}
            if isinstance(pretrained, str):
                own["pretrained_cfg_overlay"] = {"state_dict": read_weights(pretrained, name), "source": "timm"}
            with without_hub_retries() if pretrained else contextlib.nullcontext():
                self.body = self._create(pretrained=bool(pretrained), **own, **self.options)
        except OSError as error:
            if isinstance(pretrained, str):
                raise
            raise OSError(
                f"the pretrained weights of {name} cannot be fetched, nor are they in the cache: leave "
                "--backbone.pretrained out, give it the path of a folder of weights, or start from a checkpoint of "
                "yours with --init_from"
            ) from error
        except (TypeError, RuntimeError, AssertionError) as error:
            shown = ", ".join(f"{key} {value}" for key, value in self.options.items())
            raise UserError(f"timm cannot make a backbone of {name}{shown and f' with {shown}'}: {error}") from error
        info: Any = self.body.feature_info
        self.channels = list(info.channels())
        self.strides = list(info.reduction())
        self.channels_come_last = str(getattr(self.body, "output_fmt", "NCHW")).endswith("NHWC")
        self._sizes_seen: set[tuple[int, int]] = set()

    def _create(self, **options: Any) -> nn.Module:
        return timm.create_model(self.name, features_only=True, in_chans=self.in_channels, **options)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps, fine to coarse, for float images (N, C, H, W)."""
        if not torch.compiler.is_exporting():  # in an export sizes may be symbolic, and were checked before
            size = (images.shape[-2], images.shape[-1])
            if size not in self._sizes_seen:
                self._check_size(images)
                self._sizes_seen.add(size)
        maps: list[Tensor] = self.body(images)
        return [m.permute(0, 3, 1, 2) for m in maps] if self.channels_come_last else maps

    def _check_size(self, images: Tensor) -> None:
        """Refuse a size that the model cannot take, naming a larger square that it can."""
        failure = self._failure(self.body, images[:1])
        if failure is None:
            return
        height, width = images.shape[-2:]
        start = 32 * math.ceil(max(height, width) / 32)
        for size in [*range(start, start + 97, 32), 224, 256]:
            body = self._create(**{**self.options, "img_size": (size, size)}) if self.has_fixed_size else self.body
            square = images.new_zeros(1, images.shape[1], size, size)
            if size > min(height, width) and self._failure(body.to(images.device), square) is None:
                raise UserError(
                    f"{self.name} cannot take images of {height}x{width} pixels: {size}x{size} would work"
                ) from failure
        raise failure  # it was not the size

    def _failure(self, body: nn.Module, images: Tensor) -> Exception | None:
        """Return the error of the model on these images; None if it takes them."""
        training = body.training
        body.eval()  # a single image has no batch statistics
        try:
            with torch.no_grad():
                maps = body(images)
        except (RuntimeError, AssertionError, ValueError) as error:
            return error
        finally:
            body.train(training)
        if not all(m.numel() for m in maps):
            return ValueError("some of the maps are empty")
        height = maps[0].shape[1 if self.channels_come_last else 2]
        if self.has_fixed_size and height < images.shape[2] / self.strides[0]:
            return ValueError("patches across the border are left out")
        return None


def read_weights(path: str, name: str) -> dict[str, Tensor]:
    """Return the weights of a timm model from a file, or from a folder whose files or folders have models' names.

    Raises:
        OSError: there is no such file.
        UserError: it cannot be read as plain weights; no code in it is run.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise UserError(f"pretrained is true, false, or the path of weights, and there is nothing at {path}")
    found = [place]
    if place.is_dir():
        plain = name.partition(".")[0]  # without the tag that names its training
        names = [f"{each}{end}" for each in dict.fromkeys((name, plain)) for end in ENDINGS]
        found = [file for file in (place / each for each in names) if file.is_file()]
        if not found:
            raise FileNotFoundError(
                f"{place} has no weights of {name}: expected {', '.join(names[:3])} or the like in it"
            )
    try:
        weights: dict[str, Tensor] = timm.models.load_state_dict(str(found[0]), device="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # unpickling and safetensors raise types of their own
        raise UserError(f"{found[0]} cannot be read as weights ({str(error).splitlines()[0][:200]})") from error
    return weights


def check_name(name: str, ours: Sequence[str]) -> None:
    """Raise UserError, with the closest valid name, unless timm has a model of this name.

    `ours` are the names of the project's own backbones, which may be the closest.
    """
    if not timm.is_model(name):
        near = closest(name, [*ours, *timm.list_models()])
        raise UserError(f"unknown backbone {brief(name)}{near}; choose from {', '.join(ours)} or any timm model")
