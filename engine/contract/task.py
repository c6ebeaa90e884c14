"""The base of all tasks: optimiser and schedule, training metrics, and rebuilding from a checkpoint.

A task's answers are in engine.contract.answers.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from PIL import Image
from torch import Tensor
from torchmetrics import Metric

from engine.config.defaults import read_defaults
from engine.config.yaml_files import nest
from engine.contract.allocation import AllocationLimit
from engine.contract.answers import Answers
from engine.contract.backbone import Backbone
from engine.contract.class_weights import BALANCED, as_tensor, balanced, check_class_weights
from engine.contract.data import DataModule
from engine.contract.epoch_means import EpochMeans
from engine.contract.errors import UserError
from engine.contract.freezing import FrozenBackbone, frozen_epochs
from engine.contract.heads import Head
from engine.contract.input import Input
from engine.contract.optim import Course, Scheduled, build_optimiser, rate_factor
from engine.contract.parts import build_backbone, build_head, check_head_kind, parts, weights_not_fetched
from engine.contract.registry import brief, check_options, options_of
from engine.contract.renamed import present_names
from engine.inputs.image_input import ImageInput
from engine.inputs.views import View
from engine.machine import available_memory
from engine.resume.checkpoint_file import read_checkpoint
from engine.resume.lightning_internals import (
    batches_begun,
    current_hook,
    epochs_begun_and_ended,
    set_rates,
    share_images_ourselves,
)

LONGEST_NAME = 1000  # characters of a class's name
SLACK = 2**28  # bytes that a network may take beyond the limit derived from its file
KEPT = ("params", "fused")  # values of its groups that a resumed optimiser keeps, because its state fits them


def check_class_names(names: Sequence[str]) -> None:
    """Refuse class names that are missing, repeated or too long; their types are checked before.

    Raises:
        UserError: says what was expected.
    """
    if not names or len(set(names)) < len(names) or max(map(len, names)) > LONGEST_NAME:
        raise UserError(f"class_names are different names of at most {LONGEST_NAME} characters, got {brief(names)}")


def build_parts(input: Input, hparams: Mapping[str, Any]) -> tuple[Backbone, Any]:
    """Build the backbone and the head that hyperparameters describe, for an input.

    Raises:
        UserError: an unknown name or option, an invalid value, or weights that do not fit into memory.
    """
    too_large = "the network takes {needed} GiB of memory, more than is free: use smaller widths, kernels or images"
    with AllocationLimit(available_memory(), too_large):
        body = build_backbone(input=input, **hparams["backbone"])
        outputs = len(hparams["class_names"])
        return body, build_head(channels=body.channels, strides=body.strides, num_outputs=outputs, **hparams["head"])


def _is_epoch_mean(value: Any, options: Mapping[str, Any]) -> bool:
    """Whether a value logged in `training_step` with these options is a mean over the epoch and nothing else."""
    over_epoch = options.get("on_epoch") and options.get("on_step") is False
    return bool(over_epoch) and options.get("reduce_fx", "mean") == "mean" and not isinstance(value, Metric)


class Task(Answers, pl.LightningModule):
    """A LightningModule that can be rebuilt from its checkpoint alone.

    A subclass's constructor takes plain values only and passes them to `set_up`: `class_names` and the fields of its
    `input_type`, which describe the data, `backbone`, `head` and `optim`, and options of its own.

    It trains and validates like any LightningModule. `training_step` returns the loss and logs means over the epoch
    with on_step=False, on_epoch=True. `on_validation_epoch_start` resets torchmetrics objects, `validation_step`
    updates them, and `on_validation_epoch_end` logs them as val/NAME: once, because logging at each batch takes longer
    than updating. A test does the same and logs test/NAME. The methods of `Answers` predict.
    """

    task_name: ClassVar[str]
    takes: ClassVar[str]  # the kind of its batches, such as classify: see engine.contract.data
    input_type: ClassVar[type[Input]] = ImageInput
    head_kind: ClassVar[type[Head]]  # the class in engine.contract.heads that its head must inherit from
    best_metric: ClassVar[str]  # the metric that selects the best weights ...
    best_is_highest: ClassVar[bool]  # ... and whether higher is better
    # Metrics, without val/ or test/.
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"loss", "l1", "mae", "rmse", "ece"})
    # The reason for a best metric that is nan, for its error.
    unmeasured: ClassVar[str] = "the images, their targets or the network's outputs are not finite numbers"
    newest_is_best: bool = False  # whether the newest weights count as the best, because no metric is a good judge
    backbone: Backbone
    head: Any  # a Head of `head_kind`

    def __init__(self) -> None:
        super().__init__()
        self.images_seen = 0  # images that this process has trained on, to report its speed
        self.images_measured = 0  # in the last validation or test; until its end, only this process's images
        self.each: list[Tensor] | None = None  # rows (N, ...) for `measured_with`; None unless asked for
        self.details: tuple[str, ...] = ()  # metrics that --monitor can choose besides those of every epoch
        self._batch_size = 0  # images in the newest training batch
        self._means = EpochMeans()
        self._accumulated = 0  # batches whose gradients were accumulated since the last step
        self._course = Course(until=0)
        self._rate_changes = True  # whether the learning rate depends on the course
        self._optimiser_values: list[dict[str, Any]] = []  # of this configuration's groups; [] for an owner's optimiser
        self._saved_course: Mapping[str, Any] | None = None  # from the checkpoint that this fit resumes

    @classmethod
    def default_parts(cls) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the backbone and the head in the task's defaults, each with `name` and options."""
        defaults = nest(read_defaults(cls).values)
        return defaults["backbone"], defaults["head"]

    def set_up(self, **plain: Any) -> None:
        """Save the hyperparameters, plain values by name, and build the backbone and the head that they describe.

        Raises:
            UserError: an unknown name or option, an invalid value, or a head of another kind.
        """
        if not all("name" in (plain[part] or {}) for part in ("backbone", "head")):  # a checkpoint has both names
            backbone, head = self.default_parts()
            if plain["backbone"] is None and plain["head"] is None:
                plain |= {"backbone": backbone, "head": head}
            plain["backbone"] = {"name": backbone["name"], **(plain["backbone"] or {})}
            plain["head"] = {"name": head["name"], **(plain["head"] or {})}
        plain["optim"] = {"name": "adamw", **(plain["optim"] or {})}
        check_class_names(plain["class_names"])
        plain |= {"class_names": list(plain["class_names"]), **self.input_type.of(plain).values()}
        # Plain values only, so that reading a checkpoint runs no code in it.
        self.save_hyperparameters(plain, logger=False)
        check_head_kind(plain["head"]["name"], self.head_kind, self.task_name)
        body, top = build_parts(self.input, plain)
        self.backbone = body.to(memory_format=self.input.memory_format)
        self.head = top.to(memory_format=self.input.memory_format)
        if frozen_epochs(plain["backbone"]) == math.inf:
            self.backbone.requires_grad_(False)
        check_class_weights(plain.get("class_weights"), plain["class_names"])
        build_optimiser(self, **plain["optim"])  # refuses a wrong option now, before the data is downloaded

    @property
    def class_weights(self) -> Tensor | None:
        """The weight of each class in the loss (K,), from the hyperparameter of this name; None for equal weights."""
        weights = self.hparams.get("class_weights")
        return None if weights in (None, BALANCED) else as_tensor(tuple(weights), self.device)

    @functools.cached_property
    def input(self) -> Any:
        """The task's input, an `input_type`: it reads files and prepares batches as in training."""
        return self.input_type.of(self.hparams)

    @classmethod
    def own_data_options(cls, hparams: Mapping[str, Any]) -> dict[str, Any]:
        """Return the data options that read a user's folder for this network."""
        return {**cls.input_type.of(hparams).for_own_data(), "classes": hparams["class_names"]}

    def setup(self, stage: str) -> None:
        """Refuse a data module that does not fit the network, and balance class weights; Lightning calls this first.

        Raises:
            UserError: names the difference.
        """
        share_images_ourselves(self.trainer)
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and self.hparams.get("class_weights") == BALANCED:
            if not isinstance(data, DataModule):
                raise UserError(
                    f"class_weights {BALANCED} needs a DataModule, which counts: give a number for each class"
                )
            self.hparams["class_weights"] = balanced(data.class_counts(), self.hparams["class_names"])
        facts = ("class_names", *self.input.fields())
        if isinstance(data, DataModule):
            published = data.facts()
        else:  # an owner's data module may have any of these attributes, or none
            published = {name: getattr(data, name) for name in facts if hasattr(data, name)}
        kinds, names = getattr(data, "tasks", None), published.pop("class_names", None)
        if kinds is not None and self.takes not in kinds:
            raise UserError(f"task {self.task_name} takes data for {self.takes}, and this is for {', '.join(kinds)}")
        own = self.hparams["class_names"]
        if names is not None and len(names) != len(own):
            raise UserError(
                f"the data has {len(names)} class_names, and the network {len(own)}: build it with the data's"
            )
        for name, given in published.items():
            given = list(given) if isinstance(given, tuple) else given
            if given != self.hparams.get(name, given):
                raise UserError(
                    f"the data's {name} is {given}, and the network's {self.hparams[name]}: build it with the data's"
                )

    def check_data(self, data: DataModule) -> None:
        """Refuse data options that do not go with this task's own; called before the data is read.

        Raises:
            UserError: names both.
        """

    def forward(self, inputs: Tensor) -> Any:
        """Return the head's raw outputs for a prepared batch, such as normalised images (N, C, H, W)."""
        inputs = inputs.to(memory_format=self.input.memory_format)
        return self.head(self.backbone(inputs), tuple(inputs.shape[2:]))

    def check_runs_on(self, num: int, training: bool) -> None:
        """Run the network on `num` random inputs, and restore its state.

        Raises:
            UserError: its layers cannot take so few inputs, or such small ones.
        """
        inputs = self.input.prepare(self.input.example(num, torch.Generator().manual_seed(0)))
        before = {name: buffer.clone() for name, buffer in self.named_buffers()}
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                self.train(training)
                if frozen_epochs(self.hparams["backbone"]) == math.inf:
                    self.backbone.eval()
                self.try_out(inputs)
        except ValueError as error:
            if "Expected more than 1 value per channel" in str(error):  # batch and group normalisation
                raise UserError(
                    "a training batch of one is too small for this network, whose normalisation is left with one "
                    f"value per channel: give a --data.batch_size that leaves no batch of one, {self.input.larger}, "
                    "or --backbone.norm none"
                ) from error
            if "Expected more than 1 spatial element" in str(error):  # instance normalisation
                raise UserError(
                    f"{self.input.word} ({self.input}) are too small for this network, whose normalisation is left "
                    f"with one value: give {self.input.larger}, fewer widths, or another norm"
                ) from error
            raise
        finally:
            for name, buffer in self.named_buffers():  # running statistics
                buffer.copy_(before[name])
            self.train()

    def try_out(self, inputs: Tensor) -> None:
        """Run every network that a training step runs, on a prepared batch without targets."""
        self(inputs)

    def configure_callbacks(self) -> list[Callback]:
        epochs = frozen_epochs(self.hparams["backbone"])
        return [FrozenBackbone(epochs)] if epochs else []

    def configure_optimizers(self) -> Any:
        optimiser, training = build_optimiser(self, **self.hparams["optim"])
        self._optimiser_values = [{k: v for k, v in g.items() if k not in KEPT} for g in optimiser.param_groups]
        schedule, warmup = training["schedule"], training["warmup"]
        steps = self.trainer.estimated_stepping_batches
        if not 0 <= steps < math.inf:
            if schedule == "constant" and not warmup:
                return optimiser
            raise UserError(f"schedule {schedule} needs the length of the run: give --max_epochs or --max_steps")
        self._course = Course(until=int(steps))
        self._rate_changes = schedule != "constant" or bool(warmup)

        def factor(step: int) -> float:
            return rate_factor(schedule, warmup, self._course.share_at(step))

        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": Scheduled(optimiser, factor), "interval": "step"}}

    @property
    def lr(self) -> float:
        """The learning rate, as Lightning's `Tuner.lr_find` reads and sets it."""
        optimiser, _ = build_optimiser(self, **self.hparams["optim"])
        return float(optimiser.defaults["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        self.hparams["optim"] = {**self.hparams["optim"], "lr": value}

    def on_train_start(self) -> None:
        """Apply this configuration's optimiser options to a resumed run, over those in its checkpoint."""
        saved, self._saved_course = self._saved_course, None
        if saved is None or not self._optimiser_values:
            return
        if self.trainer.lr_scheduler_configs and self._rate_changes:
            self._course = self._resumed_course(saved)
        optimiser = self.trainer.optimizers[0]
        for group, values in zip(optimiser.param_groups, self._optimiser_values, strict=True):
            group.update({**values, "initial_lr": values["lr"]})
        for config in self.trainer.lr_scheduler_configs:
            set_rates(config.scheduler, [values["lr"] for values in self._optimiser_values])

    def _resumed_course(self, saved: Mapping[str, Any]) -> Course:
        """Return the saved course if the run still ends at the same step, else a new one from here to the new end.

        The finished share is counted in the unit that limits the run, epochs or steps, so a longer run continues from a
        smaller share.
        """
        trainer = self.trainer
        step, batches = trainer.global_step, trainer.num_training_batches
        until, share, is_as_saved = trainer.max_steps, step / max(1, trainer.max_steps), True
        if trainer.max_epochs not in (None, -1) and batches < math.inf:
            begun, ended = epochs_begun_and_ended(trainer)
            within: Any = min(batches_begun(trainer), batches) if ended < begun else 0  # batches of an unfinished epoch
            steps = math.ceil(batches / trainer.accumulate_grad_batches)  # of an epoch
            done = ended * steps + (steps if within == batches else within // trainer.accumulate_grad_batches)
            end = step + max(0, trainer.max_epochs * steps - done)
            if trainer.max_steps == -1 or end < trainer.max_steps:
                until, share, is_as_saved = (
                    end,
                    (ended + within / batches) / trainer.max_epochs,
                    done == step,
                )
        if not saved and is_as_saved:  # by a version that saved no course
            return Course(until)
        return Course(**saved) if saved and saved["until"] == until else Course(until, step, min(1.0, share))

    # Lightning divides the sum of gradients by accumulate_grad_batches. The last batches of an epoch may be fewer, and
    # so may the first ones after a resume with another number.

    def on_after_backward(self) -> None:
        self._accumulated += 1

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        counted, self._accumulated = self._accumulated, 0
        if 0 < counted < self.trainer.accumulate_grad_batches:
            for weight in (weight for group in optimizer.param_groups for weight in group["params"]):
                if weight.grad is not None:
                    weight.grad.mul_(self.trainer.accumulate_grad_batches / counted)

    # ---- logging ----

    def log(self, name: str, value: Any, *args: Any, **options: Any) -> None:
        """Log as Lightning does, with three differences.

        - A mean over a training epoch (on_step=False, on_epoch=True in `training_step`) is over all processes, and a
          run resumed in the middle of the epoch continues it.
        - A test runs the validation's code, so val/NAME becomes test/NAME.
        - A best metric that is nan is an error at the end of a validation or test.

        Raises:
            UserError: the best metric is nan.
        """
        hook = current_hook(self)
        if hook == "training_step" and not args and _is_epoch_mean(value, options):
            self._means.add(name, value, options.get("batch_size") or self._batch_size)
            self._means.options[name] = {key: options[key] for key in ("prog_bar", "logger") if key in options}
            return
        if hook is not None and self.trainer.testing and name.startswith("val/"):
            name = f"test/{name.removeprefix('val/')}"
        if hook in ("on_validation_epoch_end", "on_test_epoch_end"):
            self._check_measured(name, value)
        super().log(name, value, *args, **options)

    def _check_measured(self, name: str, value: Any) -> None:
        """Refuse a best metric that is nan, which would otherwise look like a result."""
        if name.partition("/")[2] != self.best_metric.partition("/")[2] or self.trainer.sanity_checking:
            return  # the sanity check's few images may not suffice
        if math.isnan(float(value.compute() if isinstance(value, Metric) else value)):
            images, remedy = "validation images", "give others, or train without: --limit_val_batches 0"
            if self.trainer.testing:
                images, remedy = "test images", "give others; the weights are kept"
            raise UserError(f"{name} cannot be measured on the {images}: {self.unmeasured}; {remedy}")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self._batch_size = len(batch[0])
        self.images_seen += self._batch_size

    def on_train_epoch_start(self) -> None:
        self._means.clear()

    def on_train_epoch_end(self) -> None:
        totals = self._means.totals(self.device)
        if totals is None:
            return
        totals = self.trainer.strategy.reduce(totals, reduce_op="sum")
        for name, total, count in zip(self._means.names, *totals.unbind(dim=1), strict=True):
            self.log(name, total / count, **self._means.options.get(name, {}))

    def log_details(self, measure: Callable[[], Mapping[str, Any]]) -> None:
        """Log metrics, by name without val/, that are too many or too slow for every epoch.

        `on_validation_epoch_end` calls this. All are logged after training, and in its validations only the one that
        --monitor chooses.
        """
        if self.trainer.state.fn != TrainerFn.FITTING:
            self.log_dict({f"val/{name}": value for name, value in measure().items()})
        elif self.best_metric != type(self).best_metric:
            found = {f"val/{name}": value for name, value in measure().items()}
            self.details = tuple(found)
            if self.best_metric in found:
                self.log(self.best_metric, found[self.best_metric])

    def measured_with(self, each: Tensor, times: Tensor) -> dict[str, float]:
        """Return the metrics of a resample that contains each image so many times, by logged name without val/.

        This works for metrics that are means over images or follow from sums over them; by default there are none.
        For these, `validation_step` appends a row per image to `self.each` if that is a list. `evaluate.py --bootstrap`
        calls this.

        Args:
            each: the rows (N, ...), on the CPU.
            times: how often the resample contains each image, float64 (N,).
        """
        return {}

    def on_validation_start(self) -> None:
        self.images_measured = 0
        if self.each is not None:
            self.each = []

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.images_measured += len(batch[0])

    def on_validation_end(self) -> None:
        count = torch.tensor(self.images_measured, device=self.device)
        self.images_measured = int(self.trainer.strategy.reduce(count, reduce_op="sum"))

    # A test runs the validation's hooks.

    def on_test_start(self) -> None:
        self.on_validation_start()

    def on_test_epoch_start(self) -> None:
        self.on_validation_epoch_start()

    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.on_validation_batch_start(batch, batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        return self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        self.on_validation_epoch_end()

    def on_test_end(self) -> None:
        self.on_validation_end()

    # ---- answering ----

    def predict_step(self, batch: Any, batch_idx: int) -> list[dict[str, Any]]:
        """Return predict.py's answer for each image of a batch."""
        images = batch[0]
        return self.answers(self.outputs(images), [(images.shape[2], images.shape[3])] * len(images))

    def raw_of_views(self, images: Tensor, views: Sequence[View]) -> Any:
        """Return the head's raw outputs for several views of images (N, ..., H, W) together, here those of the mean."""
        return self.raw_of(self.mean_of_views(self.outputs, images, views))

    def mean_of_views(
        self, outputs: Callable[[Tensor], Mapping[str, Tensor]], images: Tensor, views: Sequence[View]
    ) -> dict[str, Tensor]:
        """Return the mean of `outputs` for several views, each turned back into outputs for images (N, ..., H, W)."""
        each = []
        for view in views:
            found = outputs(view.of(images, self.backbone.strides[-1] if view.scale != 1 else 1))
            if view.mirrored:
                found = self.mirrored(found)
            each.append(self.rescaled(found, images.shape[-2:]) if view.scale != 1 else found)
        return {name: torch.stack([found[name] for found in each]).mean(dim=0) for name in each[0]}

    @torch.inference_mode()
    def predict_image(self, image: Image.Image) -> dict[str, Any]:
        """Return predict.py's answer for an image: see `answers`."""
        training = self.training
        raw, size = self.input.of_image(image, whole=self.takes_any_size)
        try:
            outputs = self.eval().outputs(self.input.prepare(raw[None].to(self.device)))
        finally:
            self.train(training)
        return self.answers(outputs, [size])[0]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["task"] = self.task_name
        # One row per process, so that a resumed epoch adds up its means in the order of an uninterrupted one.
        totals = self._means.totals(self.device)
        if totals is not None:
            gathered: Any = self.all_gather(totals)
            totals = gathered.view(self.trainer.world_size, -1, 2)
        checkpoint["epoch_means"] = {"names": self._means.names, "sums": totals}
        checkpoint["course"] = dataclasses.asdict(self._course)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        names, sums = checkpoint["epoch_means"]["names"], checkpoint["epoch_means"]["sums"]
        if sums is not None and sums.ndim == 2:  # from an earlier version, with one number of images for all names
            names = [f"train/{name}" for name in names]
            sums = torch.stack([sums[:, :-1], sums[:, -1:].expand(-1, len(names))], dim=2)
        # With fewer processes than before, each takes over the sums of several; with more, some start at zero.
        if sums is not None:
            own = sums[self.global_rank :: self.trainer.world_size]
            sums = sum(own[1:], own[0]) if len(own) else torch.zeros_like(sums[0])
        self._means.restore(names, sums)
        self._saved_course = checkpoint.get("course", {})
        self.take_choices(present_names(checkpoint.get("hyper_parameters", {}), self.hparams, "task"))

    def take_choices(self, hparams: Mapping[str, Any]) -> None:
        """Adopt hyperparameters of the resumed run that its training chose; nothing by default."""

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = "cpu",
        hparams_file: Any = None,
        strict: bool | None = True,
        weights_only: bool | None = True,
        **kwargs: Any,
    ) -> Self:
        """Rebuild the task from a checkpoint file alone, ready for use on `map_location`.

        Only plain values and tensors are read, so a stranger's file can run no code.

        Args:
            checkpoint_path: a path on this machine.
            map_location: device of the weights.
            hparams_file: refused, because the hyperparameters are in the checkpoint.
            strict: whether missing and surplus weights are errors.
            weights_only: must not be false.
            kwargs: hyperparameters that override the file's.

        Raises:
            FileNotFoundError: there is no such file.
            UserError: the file is not an intact checkpoint of this task.
        """
        if hparams_file is not None or weights_only is False:
            raise UserError(
                "a checkpoint holds its hyperparameters as plain values: omit hparams_file and weights_only"
            )
        return cls.from_checkpoint(read_checkpoint(checkpoint_path), map_location, strict is not False, **kwargs)

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Mapping[str, Any], map_location: Any = "cpu", strict: bool = True, **changes: Any
    ) -> Self:
        """Rebuild the task from a loaded checkpoint; see `load_from_checkpoint`."""
        if checkpoint["task"] != cls.task_name:
            raise UserError(f"this checkpoint holds task {checkpoint['task']!r}, not {cls.task_name!r}")
        hparams = cls.checked({**checkpoint["hyper_parameters"], **changes})
        weights = checkpoint["state_dict"]
        size = sum(value.nbytes for value in weights.values())
        # Metrics may store images, too. A network changed by `changes` may be larger than its file.
        max_bytes = 4 * size + 64 * math.prod(cls.input_type.of(hparams).shape) + SLACK
        unlike = "the network described takes {needed} GiB of memory, far more than the weights in the file"
        limit = AllocationLimit(max_bytes, unlike) if strict and not changes else contextlib.nullcontext()
        with weights_not_fetched(), limit:
            task = cls(**hparams)
        own = task.state_dict()
        for name, value in weights.items():
            if name in own and value.is_floating_point() != own[name].is_floating_point():
                raise UserError(f"the checkpoint's weight {name} has type {value.dtype}, not {own[name].dtype}")
            if value.is_floating_point() and not bool((value < math.inf).all()):  # a mask may hold -inf
                raise UserError(f"the checkpoint's weight {name} has values that are not numbers: training had failed")
        try:
            task.load_state_dict(weights, strict=strict)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()  # there can be one line per weight
            raise UserError(f"the checkpoint's weights belong to another network ({reason[:200]})") from error
        return task.to(map_location).eval()

    @classmethod
    def checked(cls, hparams: Any) -> dict[str, Any]:
        """Return hyperparameters read from a file, completed by defaults.

        Raises:
            UserError: the task cannot be built from them.
        """
        if not isinstance(hparams, Mapping):
            raise UserError(f"hyperparameters are a mapping, got {brief(hparams)}")
        parameters = options_of(cls)
        hparams = present_names(hparams, parameters, "task")
        check_options(f"task {cls.task_name}", hparams, cls)
        complete = {name: p.default for name, p in parameters.items() if p.default is not p.empty} | dict(hparams)
        for name in parameters:
            if name not in complete:
                raise UserError(f"task {cls.task_name} lacks its hyperparameter {name}")
        check_class_names(complete["class_names"])
        cls.input_type.of(complete)  # refuses impossible inputs
        head = complete.get("head")
        if isinstance(head, Mapping) and isinstance(head.get("name"), str) and head["name"] in parts().heads:
            complete["head"] = present_names(head, options_of(parts().heads[head["name"]]), "head")
        return complete

    @classmethod
    def without_network(cls, hparams: Mapping[str, Any]) -> Self:
        """Return a task without a network, which turns outputs computed elsewhere into answers and pictures."""
        task = cls.__new__(cls)
        Task.__init__(task)
        task.save_hyperparameters(cls.checked(hparams), logger=False)
        return task
