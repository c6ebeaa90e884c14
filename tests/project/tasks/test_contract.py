"""Every task keeps its promises: a new entry of TASKS is tested by being there."""

import pytest
import torch

from engine.export.formats import FORMATS
from engine.testing import TASK_CHECKS, check_export
from engine.testing.tasks import ABOUT, SIZE, batches, build_small, quiet
from project.heads import HEADS
from project.tasks import TASKS

SMALL = {"name": "cnn", "widths": [4, 8, 8]}
NOTHING_TO_MEASURE = {
    "segment": torch.full((8, *SIZE), 255),
    "detect": [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}] * 8,
    "translate": torch.full((8, 3, *SIZE), torch.nan),
    "regress": torch.full((8, 3), torch.nan),
    "multilabel": torch.zeros(8, 3),
}


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("check", TASK_CHECKS, ids=lambda check: check.__name__)
def test_every_task_keeps_its_promises(name, check):
    random = {"dropout": 0.3} if check.__name__ == "the_same_seed_gives_the_same_losses" else {}
    check(name, backbone={**SMALL, **random})


# These take as long as all else here: classify as ONNX is compared in tests/engine/export/test_export.py.
LONG_EXPORTS = [
    ("classify", "onnx"),
    ("detect", "onnx"),
    ("detect", "torch"),
    ("translate", "onnx"),
    ("translate", "torch"),
]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=[pytest.mark.slow] if (name, kind) in LONG_EXPORTS else [])
        for name in TASKS
        for kind in FORMATS
    ],
)
def test_an_exported_file_answers_as_the_task_does(name, kind):
    check_export(name, kind, backbone=SMALL)


@pytest.mark.parametrize("name", [name for name in TASKS if TASKS[name].takes in NOTHING_TO_MEASURE])
def test_a_best_metric_that_is_no_number_is_an_error_and_no_result(name):
    nothing = batches(name, NOTHING_TO_MEASURE[TASKS[name].takes])
    for split, measure in (("val", quiet().validate), ("test", quiet().test)):
        measured = TASKS[name].best_metric.replace("val/", f"{split}/")
        with pytest.raises(ValueError, match=f"{measured} cannot be measured on the .* images: (none|no|the) "):
            measure(build_small(name, backbone=SMALL), nothing, verbose=False)
    with pytest.raises(ValueError, match="train without: --limit_val_batches 0"):
        quiet(max_epochs=1).fit(build_small(name, backbone=SMALL), batches(name), nothing)


@pytest.mark.parametrize("name", TASKS)
def test_a_head_of_another_kind_is_refused(name):
    other = next((head for head, kind in HEADS.items() if not issubclass(kind, TASKS[name].head_kind)), None)
    if other is None:
        pytest.skip("all heads are of one kind")
    with pytest.raises(
        ValueError, match=f"head {other} is a .*Head, and task {name} needs a {TASKS[name].head_kind.__name__}"
    ):
        TASKS[name](**ABOUT, head={"name": other})
