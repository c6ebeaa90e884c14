"""What every task on images promises: it trains, is rebuilt from a checkpoint, answers in words and pictures."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from engine.contract.answers import Answers
from engine.contract.parts import load_task, parts
from engine.contract.task import Task
from engine.inference.views import join_views
from engine.inputs.tiles import Tile
from engine.inputs.views import VIEWS
from engine.resume.checkpoint_file import write_checkpoint

SIZE = (40, 48)
ABOUT = {"class_names": ["a", "b", "c"], "in_channels": 3, "image_size": SIZE, "mean": [0.4] * 3, "std": [0.3] * 3}
# Those of eight images, by what a task takes.
TARGETS: dict[str, Any] = {
    "classify": torch.arange(8) % 3,
    "segment": torch.arange(8 * 40 * 48).view(8, *SIZE) // 100 % 3,
    "detect": [
        {"boxes": torch.tensor([4.0, 4, 20, 30]).expand(i % 3, 4), "labels": torch.full((i % 3,), i % 3)}
        for i in range(8)
    ],
    "translate": torch.rand(8, 3, *SIZE, generator=torch.Generator().manual_seed(2)),
    "multilabel": (torch.arange(24).view(8, 3) % 5 < 2).float(),
    "regress": torch.randn(8, 3, generator=torch.Generator().manual_seed(3)),
}
PLAIN = (str, int, float, bool, type(None))


def build_small(name: str, **options: Any) -> Task:
    """Return a task for three classes and colour images of SIZE, whose weights are the same each time."""
    torch.manual_seed(0)
    return parts().tasks[name](**ABOUT, **options)


def batches(name: str, targets: Any = None) -> DataLoader[Any]:
    """Return two batches of four images, with what the task takes or with these eight targets."""
    images = torch.randn(8, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    samples: Any = list(zip(images, TARGETS[parts().tasks[name].takes] if targets is None else targets, strict=True))

    def together(batch: Sequence[Any]) -> tuple[Tensor, Any]:
        chosen, targets = zip(*batch, strict=True)
        return torch.stack(chosen), torch.stack(targets) if torch.is_tensor(targets[0]) else list(targets)

    return DataLoader(samples, batch_size=4, collate_fn=together)


def quiet(**options: Any) -> pl.Trainer:
    """Return a Trainer that says and writes nothing."""
    silent = ("enable_progress_bar", "enable_model_summary", "logger", "enable_checkpointing")
    quietly: dict[str, Any] = dict.fromkeys(silent, False)
    return pl.Trainer(accelerator="cpu", **quietly, **options)


def it_trains_validates_and_tests(name: str, **options: Any) -> None:
    task = build_small(name, **options)
    trainer = quiet(max_epochs=1, limit_val_batches=1)
    trainer.fit(task, batches(name), batches(name))
    assert {"train/loss", "val/loss", task.best_metric} <= trainer.callback_metrics.keys()
    assert task.images_seen == 8
    measured = trainer.test(task, batches(name), verbose=False)[0]
    assert {"test/loss", task.best_metric.replace("val/", "test/")} <= measured.keys() and task.images_measured == 8
    assert all(value == value for value in measured.values())


def gradients_of_too_few_batches_for_a_step_are_divided_by_their_number(name: str, **options: Any) -> None:
    """Clipped or not, in either precision."""
    for how in ({}, {"gradient_clip_val": 0.01}, {"precision": "bf16-mixed"}):

        def weights(accumulated: int, how: dict[str, Any] = how) -> dict[str, Any]:
            task = build_small(name, **{**options, "optim": {"name": "sgd", "schedule": "constant"}})
            quiet(max_epochs=1, accumulate_grad_batches=accumulated, **how).fit(task, batches(name))
            return task.state_dict()

        two, eight = weights(2), weights(8)  # two batches are one step either way; powers of two round nothing
        assert all(torch.equal(two[key], eight[key]) for key in two), how


def measures_start_anew_each_time(name: str, **options: Any) -> None:
    task = build_small(name, **options)
    first, second = (quiet().test(task, batches(name), verbose=False)[0] for _ in range(2))
    assert first == second


def what_each_image_contributes_adds_up_to_what_is_measured(name: str, **options: Any) -> None:
    task = build_small(name, **options)
    task.each = []
    measured = quiet().test(task, batches(name), verbose=False)[0]
    if task.each:
        rows = torch.cat(task.each)
        assert len(rows) == 8
        found = task.measured_with(rows, torch.ones(8, dtype=torch.float64))
        assert found and all(
            abs(value - measured[f"test/{key}"]) < 1e-4 * max(1, value) for key, value in found.items()
        )


def a_mirror_image_has_the_mirrored_answer_where_both_are_asked(name: str, **options: Any) -> None:
    task = build_small(name, **options).eval()
    if type(task).mirrored is Answers.mirrored:
        return
    images = next(iter(batches(name)))[0]
    with torch.no_grad():
        one = task.outputs(images)
        mirrored = images.flip(-1)
        both, of_mirrors = (task.mean_of_views(task.outputs, each, VIEWS["flip"]) for each in (images, mirrored))
        join_views(task, "flip")
        measured = task.outputs(images)
    for key, value in task.mirrored(of_mirrors).items():
        torch.testing.assert_close(value, both[key])
        torch.testing.assert_close(measured[key], both[key], atol=1e-5, rtol=1e-5)
        assert not torch.allclose(both[key], one[key])
        if value.shape[-1] == SIZE[1]:  # a map of the image
            assert torch.equal(value, of_mirrors[key].flip(-1))


def several_sizes_have_the_mean_of_their_answers(name: str, **options: Any) -> None:
    task = build_small(name, **options).eval()
    if type(task).rescaled is Answers.rescaled:
        return
    images = next(iter(batches(name)))[0]
    with torch.no_grad():
        seen = [view.of(images, task.backbone.strides[-1]) for view in VIEWS["multiscale"]]
        each = [task.rescaled(task.outputs(view), images.shape[2:]) for view in seen]
        join_views(task, "multiscale")
        joined = task.outputs(images)
    assert len({view.shape for view in seen}) == 3
    for key, value in joined.items():
        torch.testing.assert_close(value, sum(found[key] for found in each) / 3, atol=1e-5, rtol=1e-5)


def hyperparameters_are_plain_values(name: str, **options: Any) -> None:
    def is_plain(value: Any) -> bool:
        if isinstance(value, dict):
            return all(isinstance(key, str) and is_plain(v) for key, v in value.items())
        return all(is_plain(v) for v in value) if type(value) is list else type(value) in PLAIN

    task = build_small(name, **options)
    assert is_plain(dict(task.hparams)), task.hparams
    assert ABOUT.keys() | {"backbone", "head", "optim"} <= task.hparams.keys()


def it_says_which_measure_is_best_and_which_way_is_up(name: str, **options: Any) -> None:
    task = build_small(name, **options)
    assert task.best_metric.startswith("val/") and isinstance(task.best_is_highest, bool) and task.task_name == name


def a_checkpoint_rebuilds_it_alone(name: str, **options: Any) -> None:
    task = build_small(name, **options).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ckpt"
        content = {"task": name, "hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()}
        write_checkpoint(content, path)
        again = load_task(path)
    assert type(again) is type(task) and dict(again.hparams) == dict(task.hparams)
    images = torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8)
    with torch.no_grad():
        sizes = [(20, 24), (90, 50)]
        before, after = (t.answers(t.outputs(t.input.prepare(images)), sizes) for t in (task, again))
    for old, new in zip(before, after, strict=True):
        assert old.keys() == new.keys()
        assert all(torch.equal(old[k], new[k]) if torch.is_tensor(old[k]) else old[k] == new[k] for k in old)


def it_words_and_draws_without_a_network(name: str, **options: Any) -> None:
    task = build_small(name, **options).eval()
    with torch.no_grad():
        outputs = task.outputs(torch.randn(2, 3, *SIZE))
    alone = type(task).without_network(task.hparams)
    assert not list(alone.parameters())
    for answer in alone.answers(outputs, [(20, 24), (20, 24)]):
        assert all(task.columns.keys() <= row.keys() for row in alone.rows(answer))
        assert alone.draw(torch.zeros(3, 20, 24, dtype=torch.uint8), answer).dtype == torch.uint8


def answers_have_rows_with_its_columns_and_can_be_drawn(name: str, **options: Any) -> None:
    task = build_small(name, **options).eval()
    images = torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8)
    sizes = [(20, 24), (90, 50)]
    with torch.no_grad():
        outputs = task.outputs(task.input.prepare(images))
        answers = task.answers(outputs, sizes)
    for answer, (height, width) in zip(answers, sizes, strict=True):
        rows = task.rows(answer)
        assert rows and all(task.columns.keys() <= row.keys() for row in rows)
        picture = task.draw(torch.zeros(3, height, width, dtype=torch.uint8), answer)
        assert picture.shape == (3, height, width) and picture.dtype == torch.uint8


def a_picture_in_one_tile_has_the_answer_of_the_picture(name: str, **options: Any) -> None:
    task = build_small(name, **options).eval()
    if type(task).answer_of_tiles is Answers.answer_of_tiles:
        return
    with torch.no_grad():
        outputs = task.outputs(task.input.prepare(torch.randint(0, 256, (1, 3, *SIZE), dtype=torch.uint8)))
        for size in (SIZE, (90, 50)):
            (expected,) = task.answers(outputs, [size])
            one = {key: value[0] for key, value in outputs.items()}
            found = task.answer_of_tiles(iter([(Tile(0, 0, *size), one)]), size)
            assert found.keys() == expected.keys()
            for key, value in expected.items():
                assert torch.equal(found[key], value) if torch.is_tensor(value) else found[key] == value, (name, key)


def what_it_shows_in_a_report_is_pictures_of_one_size_and_counts(name: str, **options: Any) -> None:
    task = build_small(name, **options).eval()
    images, targets = next(iter(batches(name)))
    task.on_validation_epoch_start()
    with torch.no_grad():
        task.validation_step((images, targets), 0)
        rows = task.pictures(images, targets)
    assert len({row.shape for row in rows.values()}) <= 1
    assert all(row.dtype == torch.uint8 and row.shape[:2] == (4, 3) for row in rows.values())
    counts = task.confusion()
    assert counts is None or (counts.shape == (3, 3) and counts.sum() > 0 and not counts.is_floating_point())
    for mistake in task.worst_mistakes():
        assert mistake.image.shape == (3, *SIZE) and mistake.true != mistake.predicted and 0 < mistake.probability <= 1
    assert all(len(colour) == 3 for colour in task.legend().values())


def the_same_seed_gives_the_same_losses(name: str, **options: Any) -> None:
    def losses(seed: int) -> list[float]:
        pl.seed_everything(seed, verbose=False)
        task = parts().tasks[name](**ABOUT, **options)
        seen: list[float] = []
        task.on_train_batch_end = lambda outputs, *rest: seen.append(outputs["loss"].item())  # type: ignore[method-assign]
        quiet(max_epochs=2).fit(task, batches(name))
        return seen

    first = losses(1)
    assert len(first) == 4 and first == losses(1) and first != losses(2)


TASK_CHECKS: list[Callable[..., None]] = [
    it_trains_validates_and_tests,
    gradients_of_too_few_batches_for_a_step_are_divided_by_their_number,
    measures_start_anew_each_time,
    what_each_image_contributes_adds_up_to_what_is_measured,
    a_mirror_image_has_the_mirrored_answer_where_both_are_asked,
    several_sizes_have_the_mean_of_their_answers,
    hyperparameters_are_plain_values,
    it_says_which_measure_is_best_and_which_way_is_up,
    a_checkpoint_rebuilds_it_alone,
    it_words_and_draws_without_a_network,
    answers_have_rows_with_its_columns_and_can_be_drawn,
    a_picture_in_one_tile_has_the_answer_of_the_picture,
    what_it_shows_in_a_report_is_pictures_of_one_size_and_counts,
    the_same_seed_gives_the_same_losses,
]


def check_task(name: str, **options: Any) -> None:
    """Try all that a task promises but its export, built by its name with these options; it is trained several times.

    Raises:
        AssertionError: it does not keep a promise, which the function that failed names.
    """
    for check in TASK_CHECKS:
        check(name, **options)
