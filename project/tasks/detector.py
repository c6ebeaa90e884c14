"""Detection: the boxes and classes of the objects in an image.

N images, C channels, (H, W) size in pixels, K classes, M objects. Boxes are xyxy in pixels.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from engine.contract.class_weights import ClassWeights
from engine.contract.errors import UserError
from engine.contract.heads import BoxHead
from engine.contract.mean import Mean
from engine.contract.task import Task
from engine.inputs.drawing import as_shown, draw_boxes
from engine.inputs.letterbox import unletterbox_boxes
from engine.inputs.tiles import Tile, joined_boxes
from engine.inputs.views import View
from project.tasks.hits import Hits, hits

UNTRAINED = 0.3  # score threshold until a validation has chosen one
MIN_MEASURED = 0.01  # lowest score that counts in average precision, which ranks all detections


class LitDetector(Task):
    """A backbone and a head that finds objects; logs the parts of its loss, and average precision by COCO's rules.

    Batches are `(images, targets)`: normalised float (N, C, H, W), and per image a mapping of `boxes` (M, 4) xyxy in
    pixels and `labels` (M,) int64 in 0 .. K - 1; M may be 0.

    Args:
        class_names: the name of each class, in the order of the labels.
        in_channels: channels of the images.
        image_size: (H, W) of the images in pixels.
        mean: mean of each channel, of values in 0..1, that was subtracted from the images.
        std: standard deviation of each channel, by which the images were divided.
        backbone: `name` of a backbone and its options.
        head: `name` of a head and its options.
        optim: `name` of an optimiser, its options, and those of `training_options`.
        score_threshold: lowest score of a predicted object, in (0, 1). By default each validation chooses the
            threshold of the highest F1, and the checkpoint keeps it.
        class_weights: weight of each class in the loss of classes: a list of numbers, or balanced, which weighs classes
            by their inverse frequency; training replaces it by the numbers.
    """

    task_name = "detect"
    takes = "detect"
    head_kind = BoxHead
    best_metric = "val/map"
    best_is_highest = True
    unmeasured = "none of them has an object"
    asked: ClassVar[Mapping[str, tuple[float, float]]] = {"score_threshold": (0.0, 1.0)}
    formats = ("coco", "yolo", "voc")
    rounding_share = 0.005  # rounding decides about boxes exactly at the score threshold or at the overlap limit
    columns: ClassVar[Mapping[str, str]] = {
        "class": "text",
        "score": "percent",
        "x0": "pixels",
        "y0": "pixels",
        "x1": "pixels",
        "y1": "pixels",
    }

    def __init__(
        self,
        class_names: Sequence[str],
        in_channels: int = 3,
        image_size: Sequence[int] = (224, 224),
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        backbone: Mapping[str, Any] | None = None,
        head: Mapping[str, Any] | None = None,
        optim: Mapping[str, Any] | None = None,
        score_threshold: float | None = None,
        class_weights: ClassWeights = None,
    ) -> None:
        super().__init__()
        self._chooses_score = score_threshold is None
        score_threshold = UNTRAINED if score_threshold is None else score_threshold
        if not 0 < score_threshold < 1:
            raise UserError(f"score_threshold is a score in (0, 1), got {score_threshold}")
        self.set_up(
            class_names=class_names,
            in_channels=in_channels,
            image_size=image_size,
            mean=mean,
            std=std,
            backbone=backbone,
            head=head,
            optim=optim,
            score_threshold=score_threshold,
            class_weights=class_weights,
        )
        self.precision_of_boxes = MeanAveragePrecision(backend="faster_coco_eval", class_metrics=True)
        self.precision_of_boxes.warn_on_many_detections = False
        self.hits = Hits()
        self.loss = Mean()

    def predict(self, images: Tensor) -> list[dict[str, Tensor]]:
        """Return `boxes` (M, 4), `scores` (M,) and `labels` (M,) per image, for normalised images (N, C, H, W)."""
        return objects_of(self.outputs(images))

    def training_step(self, batch: tuple[Tensor, list[dict[str, Tensor]]], batch_idx: int) -> Tensor:
        images, targets = batch
        parts = self.head.loss(self(images), targets, self.class_weights)
        loss = torch.stack(list(parts.values())).sum()
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        self.log_dict({f"train/{name}": part for name, part in parts.items()}, on_step=False, on_epoch=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        for metric in (self.precision_of_boxes, self.hits, self.loss):
            metric.reset()
        self._precision: dict[str, Tensor] | None = None

    def validation_step(self, batch: tuple[Tensor, list[dict[str, Tensor]]], batch_idx: int) -> None:
        images, targets = batch
        raw = self(images)
        parts = self.head.loss(raw, targets, self.class_weights)
        self.loss.update(torch.stack(list(parts.values())).sum(), len(images))
        found = objects_of(self.head.decode(raw, MIN_MEASURED))
        self.precision_of_boxes.update(found, targets)
        self.hits.update(found, targets)
        if self.each is not None:
            for image, target in zip(found, targets, strict=True):
                believed = image["scores"].cpu() >= self.hparams["score_threshold"]
                right = hits(image, target) & believed
                self.each.append(torch.tensor([[right.sum(), believed.sum(), len(target["labels"])]]))

    def on_validation_epoch_end(self) -> None:
        if self._chooses_score and self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking:
            self.hparams["score_threshold"] = self.hits.compute().best_score() or UNTRAINED
        self.log_dict({f"val/{name}": value for name, value in self.measured().items()})
        self.log_details(self.measured_by_class)

    def take_choices(self, hparams: Mapping[str, Any]) -> None:
        if self._chooses_score:
            self.hparams["score_threshold"] = hparams["score_threshold"]

    def measured(self) -> dict[str, Any]:
        """Return the metrics since the epoch's start: torchmetrics objects, or values already merged over processes."""
        precision = self._computed()
        # torchmetrics gives -1 if there are no true objects.
        values = {name: precision[name].where(precision[name] >= 0, torch.nan) for name in ("map", "map_50")}
        right, found = self.hits.compute().from_score(self.hparams["score_threshold"])
        return {**values, "precision": right, "recall": found, "loss": self.loss}

    def measured_by_class(self) -> dict[str, float]:
        """Return the average precision of each class that has one."""
        precision = self._computed()
        numbers, values = precision["classes"].view(-1).tolist(), precision["map_per_class"].view(-1).tolist()
        names = self.hparams["class_names"]
        return {f"map/{names[k]}": value for k, value in zip(numbers, values, strict=True) if value >= 0}

    def measured_with(self, each: Tensor, times: Tensor) -> dict[str, float]:
        right, believed, true = (times @ each.double()).tolist()
        return {"precision": right / max(1.0, believed), "recall": right / true if true else float("nan")}

    def _computed(self) -> dict[str, Tensor]:
        if self._precision is None:
            self._precision = self.precision_of_boxes.compute()
        return self._precision

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Return `boxes` (N, M, 4), `scores` (N, M) and `labels` (N, M), by falling score; unused rows score 0.

        M is the largest number of objects that the head finds in an image.
        """
        return self.head.decode(self(images), self.hparams["score_threshold"])

    def raw_of_views(self, images: Tensor, views: Sequence[View]) -> Any:
        raws, backs = [], []
        for view in views:
            seen = view.of(images, self.backbone.strides[-1])
            raws.append(self(seen))
            backs.append(functools.partial(view.boxes_back, seen=seen.shape[-2:], size=images.shape[-2:]))
        return self.head.joined(raws, backs)

    def answers(self, outputs: Mapping[str, Tensor], sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        """Return the `objects` of each image, by falling score: `class`, `score`, and x0, y0, x1, y1 in pixels."""
        return [self._answer(*objects) for objects in self._found(outputs, sizes)]

    def answer_of_tiles(
        self, tiles: Iterable[tuple[Tile, Mapping[str, Tensor]]], size: tuple[int, int]
    ) -> dict[str, Any]:
        found: list[tuple[Tensor, ...]] = []
        for (top, left, high, wide), outputs in tiles:
            ((boxes, scores, labels),) = self._found({name: row[None] for name, row in outputs.items()}, [(high, wide)])
            place = boxes.new_tensor([left, top, left, top])
            tile = place + boxes.new_tensor([0, 0, wide, high])
            found.append((boxes + place, scores, labels, tile.expand_as(boxes)))
        boxes, scores, labels, places = map(torch.cat, zip(*found, strict=True))
        return self._answer(*joined_boxes(boxes, scores, labels, places, size))

    def _found(
        self, outputs: Mapping[str, Tensor], sizes: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the boxes (M, 4) in the pixels of its file, scores (M,) and labels (M,) of each image, on the CPU."""
        for objects, size in zip(objects_of(outputs, self.hparams["score_threshold"]), sizes, strict=True):
            boxes = unletterbox_boxes(objects["boxes"], size, self.hparams["image_size"])
            yield boxes.cpu(), objects["scores"].cpu(), objects["labels"].cpu()

    def _answer(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> dict[str, Any]:
        """Return the answer of an image with these objects: boxes (M, 4) in its pixels, scores (M,) and labels (M,)."""
        names, sides = self.hparams["class_names"], ("x0", "y0", "x1", "y1")
        return {
            "objects": [
                {
                    "class": names[k],
                    "score": round(score, 6),
                    **{side: round(value, 2) for side, value in zip(sides, box, strict=True)},
                }
                for box, score, k in zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True)
            ]
        }

    def ask_with(self, option: str, value: float, is_program: bool = False) -> None:
        min_score = self.hparams["score_threshold"]
        if is_program and value < min_score:
            raise UserError(f"this exported file has no objects that score below {min_score}: use the checkpoint")
        super().ask_with(option, value)

    def in_order_of(self, outputs: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Reorder the rows of `outputs` to match the closest rows of `others`, since objects of equal score may swap.

        An image whose rows cannot be matched one to one is left unchanged.
        """
        mine, theirs = (  # (N, M, 6)
            torch.cat([found["boxes"], found["scores"][..., None], 1e4 * found["labels"][..., None]], dim=-1)
            for found in (outputs, others)
        )
        place = torch.arange(mine.shape[1])
        apart = (mine[:, None] - theirs[:, :, None]).abs().amax(dim=-1)  # (N, M of others, M)
        closest = (apart + 1e-6 * (place[:, None] - place).abs()).argmin(dim=-1)  # unused rows keep their place
        is_paired = (closest.sort(dim=1).values == place).all(dim=1, keepdim=True)
        order = torch.where(is_paired, closest, place)
        return {name: value[torch.arange(len(value))[:, None], order] for name, value in outputs.items()}

    def rows(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        return list(answer["objects"]) or [dict.fromkeys(self.columns)]  # an image without objects gets an empty row

    def draw(self, image: Tensor, answer: Mapping[str, Any]) -> Tensor:
        objects = answer["objects"][::-1]  # the highest score last, so that it is on top
        names = list(self.hparams["class_names"])
        boxes = torch.tensor([[o["x0"], o["y0"], o["x1"], o["y1"]] for o in objects]).view(-1, 4)
        texts = [f"{o['class']} {o['score']:.0%}" for o in objects]
        return draw_boxes(image, boxes, [names.index(o["class"]) for o in objects], texts)

    def pictures(self, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        # Enlarged before drawing, so that lines and names are fine.
        seen = as_shown(self.input.seen(images))
        factor = seen.shape[-1] // images.shape[-1]
        names = self.hparams["class_names"]
        drawn: dict[str, list[Tensor]] = {"truth": [], "output": []}
        for image, target, found in zip(seen, targets, self.predict(images), strict=True):
            for title, objects in (("truth", target), ("output", found)):
                labels = objects["labels"].tolist()
                scores = objects["scores"].tolist() if "scores" in objects else [None] * len(labels)
                texts = [
                    names[k] if score is None else f"{names[k]} {score:.0%}"
                    for k, score in zip(labels, scores, strict=True)
                ]
                boxes = objects["boxes"].float().cpu() * factor
                # The highest score last, so that it is on top.
                drawn[title].append(draw_boxes(image, boxes.flip(0), labels[::-1], texts[::-1]))
        return {title: torch.stack(pictures) for title, pictures in drawn.items()}


def objects_of(found: Mapping[str, Tensor], score_threshold: float = 0.0) -> list[dict[str, Tensor]]:
    """Split `outputs` into `boxes` (M, 4), `scores` (M,) and `labels` (M,) per image.

    Unused rows and objects that score below `score_threshold` are left out.
    """
    each = [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
    kept = [(image["scores"] > 0) & (image["scores"] >= score_threshold) for image in each]
    return [{name: rows[k] for name, rows in image.items()} for image, k in zip(each, kept, strict=True)]
