"""What every task promises, tried on all of them: a new entry of TASKS is tested by being there."""

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from engine.config.arguments import TOLERANCE
from engine.contract.parts import load_task
from engine.export import FORMATS
from engine.export.command import Comparison
from engine.export.model import of_task
from engine.resume.checkpoint_file import write_checkpoint
from project.heads import HEADS
from project.tasks import TASKS

SIZE = (40, 48)
ABOUT = {"class_names": ["a", "b", "c"], "in_channels": 3, "image_size": SIZE, "mean": [0.4] * 3, "std": [0.3] * 3}
TARGETS = {  # by what a task takes
    "classify": torch.arange(8) % 3,
    "segment": torch.arange(8 * 40 * 48).view(8, *SIZE) // 100 % 3,
    "detect": [
        {"boxes": torch.tensor([4.0, 4, 20, 30]).expand(i % 3, 4), "labels": torch.full((i % 3,), i % 3)}
        for i in range(8)
    ],
    "translate": torch.rand(8, 3, *SIZE, generator=torch.Generator().manual_seed(2)),
}
PLAIN = (str, int, float, bool, type(None))


@pytest.fixture(params=TASKS)
def name(request):
    return request.param


def built(name, **options):
    torch.manual_seed(0)
    return TASKS[name](**ABOUT, **options, backbone={"name": "cnn", "widths": [4, 8, 8]})


NOTHING_TO_MEASURE = {
    "segment": torch.full((8, *SIZE), 255),
    "detect": [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}] * 8,
    "translate": torch.full((8, 3, *SIZE), torch.nan),
}


def loader(name, targets=TARGETS):
    images = torch.randn(8, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    samples = list(zip(images, targets[TASKS[name].takes], strict=True))

    def together(batch):
        chosen, targets = zip(*batch, strict=True)
        return torch.stack(chosen), torch.stack(targets) if torch.is_tensor(targets[0]) else list(targets)

    return DataLoader(samples, batch_size=4, collate_fn=together)


def quiet(**options):
    quietly = dict.fromkeys(("enable_progress_bar", "enable_model_summary", "logger", "enable_checkpointing"), False)
    return pl.Trainer(accelerator="cpu", **quietly, **options)


def test_it_trains_validates_and_tests(name):
    task = built(name)
    trainer = quiet(max_epochs=1, limit_val_batches=1)
    trainer.fit(task, loader(name), loader(name))
    assert {"train/loss", "val/loss", task.best_metric} <= trainer.callback_metrics.keys()
    assert task.images_seen == 8
    measured = trainer.test(task, loader(name), verbose=False)[0]
    assert {"test/loss", task.best_metric.replace("val/", "test/")} <= measured.keys() and task.images_measured == 8
    assert all(value == value for value in measured.values())


@pytest.mark.parametrize("name", [name for name in TASKS if TASKS[name].takes in NOTHING_TO_MEASURE], indirect=True)
def test_a_best_metric_that_is_no_number_is_an_error_and_no_result(name):
    nothing = loader(name, NOTHING_TO_MEASURE)
    for split, measure in (("val", quiet().validate), ("test", quiet().test)):
        measured = TASKS[name].best_metric.replace("val/", f"{split}/")
        with pytest.raises(ValueError, match=f"{measured} cannot be measured on the .* images: (none|no|the) "):
            measure(built(name), nothing, verbose=False)
    with pytest.raises(ValueError, match="train without: --limit_val_batches 0"):
        quiet(max_epochs=1).fit(built(name), loader(name), nothing)


@pytest.mark.parametrize("options", [{}, {"gradient_clip_val": 0.01}, {"precision": "bf16-mixed"}], ids=str)
def test_gradients_of_too_few_batches_for_a_step_are_divided_by_their_number(name, options):
    def weights(accumulated):
        task = built(name, optim={"name": "sgd", "schedule": "constant"})
        quiet(max_epochs=1, accumulate_grad_batches=accumulated, **options).fit(task, loader(name))
        return task.state_dict()

    two, eight = weights(2), weights(8)  # two batches are one step either way; powers of two round nothing
    assert all(torch.equal(two[key], eight[key]) for key in two)


def test_measures_start_anew_each_time(name):
    task = built(name)
    first, second = (quiet().test(task, loader(name), verbose=False)[0] for _ in range(2))
    assert first == second


def test_hyperparameters_are_plain_values(name):
    def check(value):
        if isinstance(value, dict):
            return all(isinstance(key, str) and check(v) for key, v in value.items())
        return all(check(v) for v in value) if type(value) is list else type(value) in PLAIN

    task = built(name)
    assert check(dict(task.hparams)), task.hparams
    assert ABOUT.keys() | {"backbone", "head", "optim"} <= task.hparams.keys()


def test_it_says_which_measure_is_best_and_which_way_is_up(name):
    task = TASKS[name]
    assert task.best_metric.startswith("val/") and isinstance(task.best_is_highest, bool) and task.task_name == name


def test_a_checkpoint_rebuilds_it_alone(name, tmp_path):
    task = built(name).eval()
    path = tmp_path / "a.ckpt"
    write_checkpoint({"task": name, "hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()}, path)
    again = load_task(path)
    assert type(again) is TASKS[name] and dict(again.hparams) == dict(task.hparams)
    images = torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8)
    with torch.no_grad():
        sizes = [(20, 24), (90, 50)]
        before, after = (t.answers(t.outputs(t.input.prepare(images)), sizes) for t in (task, again))
    for old, new in zip(before, after, strict=True):
        assert old.keys() == new.keys()
        assert all(torch.equal(old[k], new[k]) if torch.is_tensor(old[k]) else old[k] == new[k] for k in old)


# These take as long as all else here: classify as ONNX is compared in tests/engine/export/test_export.py.
LONG_EXPORTS = [("classify", "onnx"), ("detect", "onnx"), ("translate", "onnx"), ("translate", "torch")]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=[pytest.mark.slow] if (name, kind) in LONG_EXPORTS else [])
        for name in TASKS
        for kind in FORMATS
    ],
    indirect=["name"],
)
def test_an_exported_file_answers_as_the_task_does(name, kind, tmp_path):
    """Batches of any number; and images of any size, for a task that takes them."""
    task = built(name).eval()
    path = tmp_path / f"a{FORMATS[kind].suffix}"
    with torch.no_grad():
        for weight in task.head.parameters():  # so that there is something to be seen in noise
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(5)), alpha=0.1)
        FORMATS[kind].write(task, torch.zeros(2, 3, *SIZE, dtype=torch.uint8), path)
        original, exported = of_task(task, "cpu"), FORMATS[kind].read(path, "cpu")
        for number, size in ((1, SIZE), (3, SIZE), *([(2, (37, 51))] if task.takes_any_size else [])):
            images = torch.randint(0, 256, (number, 3, *size), dtype=torch.uint8)
            expected, found = original.outputs(images), exported.outputs(images)
            assert list(found) == list(expected) and all(len(value) == number for value in found.values())
            assert all(value.any() for value in expected.values())
            comparison = Comparison(original, exported, TOLERANCE)
            comparison.add(images)
            comparison.check()
            rows = exported.task.rows(exported.task.answers(found, [(20, 24)] * number)[0])
            assert [row.keys() for row in rows] == [
                row.keys() for row in task.rows(task.answers(expected, [(20, 24)] * number)[0])
            ]


def test_it_words_and_draws_without_a_network(name):
    task = built(name).eval()
    with torch.no_grad():
        outputs = task.outputs(torch.randn(2, 3, *SIZE))
    alone = TASKS[name].without_network(task.hparams)
    assert not list(alone.parameters())
    for answer in alone.answers(outputs, [(20, 24), (20, 24)]):
        assert all(task.columns.keys() <= row.keys() for row in alone.rows(answer))
        assert alone.draw(torch.zeros(3, 20, 24, dtype=torch.uint8), answer).dtype == torch.uint8


def test_answers_have_rows_with_its_columns_and_can_be_drawn(name):
    task = built(name).eval()
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


def test_what_it_shows_in_a_report_is_pictures_of_one_size_and_counts(name):
    task = built(name).eval()
    images, targets = next(iter(loader(name)))
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


def test_a_head_of_another_kind_is_refused(name):
    other = next(head for head, kind in HEADS.items() if not issubclass(kind, TASKS[name].head_kind))
    with pytest.raises(
        ValueError, match=f"head {other} is a .*Head, and task {name} needs a {TASKS[name].head_kind.__name__}"
    ):
        TASKS[name](**ABOUT, head={"name": other})


def test_same_seed_same_losses(name):
    def losses(seed):
        pl.seed_everything(seed, verbose=False)
        task = TASKS[name](**ABOUT, backbone={"name": "cnn", "widths": [4, 8, 8], "dropout": 0.3})
        seen = []
        task.on_train_batch_end = lambda outputs, *rest: seen.append(outputs["loss"].item())
        quiet(max_epochs=2).fit(task, loader(name))
        return seen

    first = losses(1)
    assert len(first) == 4 and first == losses(1) and first != losses(2)
