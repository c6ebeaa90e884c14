import pytest

from engine.errors import RunError
from engine.files import check_data, csv_table
from engine.files.checks import check_folder
from engine.files.layouts import ForOtherTask, recognise
from engine.files.number_table import TASK
from tests.own_data import write_class_folders
from tests.own_data import write_with_table as write


def numbers(layout):
    return {
        split: dict(zip(own.images, map(tuple, own.numbers.tolist()), strict=True))
        for split, own in layout.splits.items()
    }


NUMBERS = "a.jpg,1,0.5\nb.jpg,-2,1e3\nc.jpg,3.25,0\nd.jpg,4,0\n"


@pytest.mark.parametrize(
    "text",
    [
        "file,Höhe,width\n" + NUMBERS,
        "\ufeffIMAGE;Ho\u0308he;width\r\n" + NUMBERS.replace(",", ";").replace("\n", "\r\n"),
        '"width"\t"file"\t"Höhe"\n0.5\ta\t" 1 "\n1000\tb\t-2\n\n"0"\tdeep/c.jpg\t+3.25\n0\td\t4\n',
    ],
)
def test_columns_of_numbers_are_read_under_their_own_names(tmp_path, text):
    for task in (None, TASK, "classify"):
        write(tmp_path, text)
        if task == "classify":
            with pytest.raises(ForOtherTask, match="table of numbers .*, for task regress, not classify"):
                recognise(tmp_path, task=task)
            continue
        layout = recognise(tmp_path, ["Höhe", "width"], task=TASK) if task else recognise(tmp_path)
        assert (layout.kind, layout.task, layout.notes) == ("table of numbers", "regress", [])
        order = [layout.class_names.index(name) for name in ("Höhe", "width")]
        found = {image: tuple(row[k] for k in order) for image, row in numbers(layout)["train"].items()}
        assert found == {"a.jpg": (1, 0.5), "b.jpg": (-2, 1000), "deep/c.jpg": (3.25, 0), "deep/d.jpg": (4, 0)}


def test_columns_can_be_chosen_and_labels_may_be_numbers(tmp_path):
    text = "file,label,size,split,by\na.jpg,1,2,train,me\nb.jpg,2,4,train,me\nc.jpg,2,6,val,you\n"
    write(tmp_path, text)
    assert recognise(tmp_path).task == "classify"
    layout = recognise(tmp_path, ["size", "label"], task=TASK)
    assert layout.class_names == ("size", "label")
    assert numbers(layout) == {"train": {"a.jpg": (2, 1), "b.jpg": (4, 2)}, "val": {"deep/c.jpg": (6, 2)}}
    assert layout.notes[0] == "columns of labels.csv left out: 'by'"
    with pytest.raises(ValueError, match="line 2 has 'me' for by: expected a number such as 1.5; .* --data.classes"):
        recognise(tmp_path, task=TASK)
    with pytest.raises(ValueError, match="has no column 'sise'; did you mean size.; it has 'label, size, by'"):
        recognise(tmp_path, ["sise"], task=TASK)
    with pytest.raises(ValueError, match="classes size size: one is listed twice"):
        recognise(tmp_path, ["size", "size"], task=TASK)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("e.jpg,1,2", "line 6: there is no image 'e.jpg' in .*: add it, or remove the line"),
        ("a.jpg,1,", "line 6 has '' for y: expected a number"),
        ("a.jpg,NaN,2", "line 6 has 'NaN' for x: expected a number"),
        ("a.jpg,1,-inf", "line 6 has '-inf' for y: expected a number"),
        ("a.jpg,1e39,2", "line 6 has '1e39' for x: expected a number"),
        ("a.jpg,many,2", "line 6 has 'many' for x: expected a number"),
        ('a.jpg,"1,5",2', "line 6 has '1,5' for x: expected a number such as 1.5"),
        ("a.jpg,1", "line 6 has 2 cells: expected 3"),
        (
            "a.jpg,1,0.25",
            "line 6 has a.jpg as 1, 0.25 of train, and line 2 as 1, 0.5 of train: keep one of them",
        ),
    ],
)
def test_what_is_wrong_with_a_row_of_numbers_is_named_and_the_rest_is_looked_through(tmp_path, row, message):
    with pytest.raises(ValueError, match=message) as caught:
        recognise(write(tmp_path, f"file,x,y\n{NUMBERS}{row}\n"), task=TASK)
    assert "\n" not in str(caught.value)
    checked = check_folder(tmp_path, task=TASK)
    assert [finding.count for finding in checked.layout.findings.of("error")] == [1]
    assert len(checked.layout.splits["train"]) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,2\n", "line 1 has the columns 'x, y': expected one of file, .*, and a column for each number"),
        ("file,x\n", "labels.csv has no row for training"),
        ("file,x,split\na.jpg,1,val\n", "labels.csv has no row for training"),
        ("file\na.jpg\n", "line 1 has the columns 'file': expected one of file, .*, and a column for each number"),
        ("file,x,y\na.jpg,1,2\nb.jpg,1,3\n", "has 1 for x in all rows for training: there is nothing to learn"),
        ("file,x\na.jpg,1\n", "has 1 for x in all rows for training: there is nothing to learn"),
    ],
)
def test_what_is_wrong_with_a_table_of_numbers_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        recognise(write(tmp_path, text), task=TASK)


def test_a_row_of_numbers_that_is_there_again_counts_once(tmp_path):
    layout = recognise(write(tmp_path, f"file,x,y\n{NUMBERS}./a.jpg,1.0,0.50\n"), task=TASK)
    assert layout.notes == ["1 rows that name an image again: it counts once (first: line 6: a.jpg)"]


def test_check_data_tells_the_range_of_each_number_and_how_to_train(tmp_path, capsys):
    write(tmp_path / "own", "file,x,y,by\n" + NUMBERS.replace("\n", ",me\n"), name="mine.csv")
    with pytest.raises(RunError, match="line 2 has 'me' for by: expected a number"):
        check_data.main([str(tmp_path / "own"), "--labels", "mine.csv", "--task", "regress"])
    capsys.readouterr()
    check_data.main([str(tmp_path / "own"), "--labels", "mine.csv", "--task", "regress", "--classes", "x,y"])
    out = capsys.readouterr().out
    assert out.startswith("table of numbers, for --task regress") and "classes" not in out.partition("train on it")[0]
    assert "x train mean 1.562, sd 2.334, -2 to 4" in " ".join(out.split())
    assert "--data.labels mine.csv --data.classes x,y --task regress" in out
    with pytest.raises(RunError, match="unknown task 'regres'; did you mean regress?"):
        check_data.main([str(tmp_path / "own"), "--task", "regres"])


def test_a_folder_of_classes_may_have_a_table_of_numbers_for_which_the_task_is_asked(tmp_path):
    write_class_folders(tmp_path)
    (tmp_path / "labels.csv").write_text("file,size\nred/2.png,3\nblue/0.png,4\n")
    assert recognise(tmp_path, task="classify").kind == "class folders"
    assert recognise(tmp_path, task=TASK).kind == "table of numbers"
    with pytest.raises(ForOtherTask, match="holds table of numbers .2 train., for task regress, not detect"):
        recognise(tmp_path, task="detect")


def test_a_table_is_read_once_however_many_layouts_look_at_it(tmp_path, monkeypatch):
    write(tmp_path, "file,height\n" + NUMBERS.replace(",0.5", "").replace(",1e3", "").replace(",0", ""))
    read, paths = csv_table.read_text, []
    monkeypatch.setattr(csv_table, "read_text", lambda path, *rest: paths.append(path.name) or read(path, *rest))
    for times in (1, 2):  # a later look reads it anew
        assert recognise(tmp_path).task == "regress"
        assert paths == ["labels.csv"] * times
