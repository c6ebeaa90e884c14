"""Every data module keeps its promises, also for folders of every layout, and for each of their tasks."""

import functools

import pytest

from engine.config.defaults import read_defaults
from engine.contract.parts import build_data, find_data
from engine.contract.registry import options_of
from engine.testing import DATA_CHECKS
from project.data import DATA
from project.tasks import TASKS
from tests.own_data import (
    write_class_folders,
    write_coco,
    write_label_lists,
    write_masks,
    write_numbers,
    write_pairs,
    write_voc,
)

# Options that make the stand-in for MNIST enough; an entry of DATA that is not here is tried as it is.
SMALL = {
    "mnist": {"val_size": 60},
    "digits": {"num_train": 12, "num_val": 6, "num_test": 6, "val_digits": 60},
    "digit_pairs": {"val_size": 60},
}
FOLDERS = {
    "classes": (write_class_folders, "classify"),
    "masks": (write_masks, "segment"),
    "voc": (write_voc, "detect"),
    "coco": (write_coco, "detect"),
    "pairs": (write_pairs, "translate"),
    "numbers": (write_numbers, "regress"),
    "lists": (write_label_lists, "multilabel"),
}
KINDS = ("classify", "segment", "detect", "translate", "regress", "multilabel")
PAIRS = [(name, kind) for name in DATA for kind in KINDS]
MADE = [pair for pair in PAIRS if pair[1] in DATA[pair[0]].tasks]


@pytest.mark.parametrize("made", [*MADE, *FOLDERS], ids=str)
@pytest.mark.parametrize("check", DATA_CHECKS, ids=lambda check: check.__name__)
def test_every_data_module_keeps_its_promises(workplace, made, check):
    if made in FOLDERS:
        writer, kind = FOLDERS[made]
        name, options = str(writer(workplace / made)), {"image_size": [32], "num_workers": 0}
    else:
        name, kind = made
        options = SMALL.get(name, {})
    check(functools.partial(build_data, name, kind, 3, batch_size=4, **options), kind)


@pytest.mark.parametrize("name", DATA)
def test_all_can_be_made_smaller(name):
    assert {"train_size", "num_train"} & options_of(find_data(name)).keys()


@pytest.mark.parametrize(("name", "kind"), [pair for pair in PAIRS if pair[1] not in DATA[pair[0]].tasks])
def test_data_for_other_tasks_is_refused(name, kind):
    with pytest.raises(ValueError, match=f"data {name} is for task .*, not {kind}"):
        build_data(name, kind, 0)


def test_every_tasks_defaults_name_data_for_it():
    for task in TASKS.values():
        assert task.takes in DATA[read_defaults(task).values["data.name"]].tasks
