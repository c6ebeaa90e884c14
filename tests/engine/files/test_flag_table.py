import pytest
import torch

from engine.files import check_data
from engine.files.checks import check_folder
from engine.files.flag_table import TASK
from engine.files.layouts import ForOtherTask, recognise
from tests.own_data import write_class_folders
from tests.own_data import write_with_table as write

LISTS = "a,cat;dog\nb,\nc,cow\nd, dog | cat |\n"
PAIRS = "a,cat\na,dog\nb,\nc,cow\nd,dog\nd,cat\n"
FLAGS = "a,1,0,1\nb,0,0,0\nc,0,1,0\nd.jpg,1.0,0,True\n"
EXPECTED = {"a.jpg": {"cat", "dog"}, "b.jpg": set(), "deep/c.jpg": {"cow"}, "deep/d.jpg": {"cat", "dog"}}


def shown(layout):
    return {
        split: {
            name: {layout.class_names[k] for k in flags.nonzero()[:, 0].tolist()}
            for name, flags in zip(own.images, own.numbers, strict=True)
        }
        for split, own in layout.splits.items()
    }


@pytest.mark.parametrize(
    "text",
    [
        f"file,label\n{LISTS}",
        f"file,label\n{PAIRS}",
        f"\ufefffile,cat,cow,dog\n{FLAGS}",
        f"file;cat;cow;dog\n{FLAGS}".replace(",", ";"),
        'file,label\na,"cat,dog"\nb,nan\nc,cow\nd,"dog, cat"\n',
    ],
)
def test_labels_are_lists_or_rows_or_columns_of_flags(tmp_path, text):
    layout = recognise(write(tmp_path, text), task=TASK)
    assert (layout.kind, layout.class_names) == ("table of several labels per image", ("cat", "cow", "dog"))
    assert shown(layout) == {"train": EXPECTED} and layout.notes == []
    is_of_flags = "cow" in text.partition("\n")[0]
    order = ("dog", "cat") if is_of_flags else ("dog", "ant", "cow", "cat")  # columns can be left out, labels be added
    layout = recognise(tmp_path, order, task=TASK)
    assert layout.class_names == order and shown(layout)["train"]["a.jpg"] == {"cat", "dog"}


def test_columns_of_flags_are_recognised_by_themselves_and_lists_when_they_are_asked_for(tmp_path):
    assert recognise(write(tmp_path, f"file,cat,cow,dog\n{FLAGS}")).task == TASK
    with pytest.raises(ForOtherTask, match="of several labels per image .*, for task multilabel, not classify"):
        recognise(tmp_path, task="classify")
    write_class_folders(tmp_path / "own")
    (tmp_path / "own/labels.csv").write_text("file,new,old\nred/2.png,1,0\nblue/0.png,0,1\n")
    assert recognise(tmp_path / "own", task="classify").kind == "class folders"
    assert recognise(tmp_path / "own", task=TASK).class_names == ("new", "old")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,cat,dog\na,1,0\nb,2,0\n", "line 3 has '2' for cat: expected 0 or 1"),
        ("file,cat,dog\na,1,\nb,1,0\n", "line 2 has '' for dog: expected 0 or 1"),
        ("file,cat,dog\na,0,0\nb,0,0\n", "labels.csv has no label for training"),
        ("file,label\na,\n", "labels.csv has no label for training"),
        ("file,label\n", "labels.csv has no label for training"),
        ("file\na\n", "line 1 has the columns 'file': expected one of file, .*, and one of label, .* of 0 and 1"),
        ("file,label,split\na,cat,train\nb,cow;cat,val\n", "line 3 has the label 'cow', which no training image has"),
        ("file,label,split\na,cat,train\na,dog,val\n", "line 3 has a.jpg as dog of val, and line 2 as cat of train"),
        ("file,cat,dog\na,1,0\na,1,1\n", "line 3 has a.jpg as cat, dog of train, and line 2 as cat of train: keep one"),
        ("file,label\ne,cat\n", "line 2: there is no image 'e'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        recognise(write(tmp_path, text), task=TASK)
    assert "\n" not in str(caught.value)


def test_a_label_that_is_there_again_counts_once(tmp_path):
    layout = recognise(write(tmp_path, f"file,label\n{PAIRS}a,dog\n"), task=TASK)
    assert shown(layout)["train"] == EXPECTED
    assert layout.notes == ["1 rows that name an image again: it counts once (first: line 8: a.jpg)"]


def test_check_data_counts_the_images_of_each_class(tmp_path, capsys):
    write(tmp_path, f"file,cat,cow,dog\n{FLAGS}")
    check_data.main([str(tmp_path), "--task", TASK])
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("table of several labels per image, for --task multilabel train images 4 cat 2 cow 1 dog 2")
    assert check_folder(tmp_path, task=TASK).amounts["train"].tolist() == [2, 1, 2]


def test_a_source_says_which_classes_an_image_shows(tmp_path):
    layout = recognise(write(tmp_path, f"file,cat,cow,dog\n{FLAGS}"), task=TASK)
    source = layout.source(layout.splits["train"], channels=1)
    assert source.classes(0).tolist() == [0, 2] and source.classes(1).tolist() == []
    image, flags = source.sample(0, source.read(0, (8, 8)), (8, 8))
    assert image.shape == (1, 8, 8) and torch.equal(flags, torch.tensor([1.0, 0.0, 1.0]))
