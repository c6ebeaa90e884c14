import pytest

from engine.errors import RunError
from engine.files import check_data
from engine.files.checks import check_folder
from engine.files.layouts import recognise
from tests.own_data import write_class_folders, write_voc, write_with_table

ROWS = "a.jpg,cat\nb.jpg,dog\nc.jpg,cat\nd.jpg,dog\n"


def write(folder, text="file,label\n" + ROWS, **options):
    return write_with_table(folder, text, **options)


def labelled(layout):
    return {
        split: {name: layout.class_names[k] for name, k in zip(own.images, own.labels.tolist(), strict=True)}
        for split, own in layout.splits.items()
    }


EXPECTED = {"train": {"a.jpg": "cat", "b.jpg": "dog", "deep/c.jpg": "cat", "deep/d.jpg": "dog"}}


@pytest.mark.parametrize(
    "text",
    [
        "file,label\n" + ROWS,
        "\ufeffFilename;Class\r\n" + ROWS.replace(",", ";").replace("\n", "\r\n"),
        "label\tid\ncat\ta\ndog\tb\n\ncat\tdeep/c\ndog\td\n",
        '"path","target"\n"C:\\data\\a.jpg","cat"\n"./b.jpg","dog"\n"/home/me/deep/c.jpg"," cat "\ndeep\\d.jpg,dog\n',
    ],
)
def test_the_header_tells_the_columns_whatever_stands_between_them(tmp_path, text):
    layout = recognise(write(tmp_path, text))
    assert (layout.kind, layout.task, layout.class_names, layout.notes) == (
        "table of labels",
        "classify",
        ("cat", "dog"),
        [],
    )
    assert labelled(layout) == EXPECTED


def test_a_column_tells_the_split_and_which_of_two_images_is_meant(tmp_path):
    images = ("train/1.jpg", "train/2.jpg", "val/1.jpg", "x/2.jpg")
    text = "image,label,split\n1.jpg,cat,train\ntrain/2.jpg,dog,\n1.jpg,dog,Valid\n"
    layout = recognise(write(tmp_path, text, images=images))
    assert labelled(layout) == {"train": {"train/1.jpg": "cat", "train/2.jpg": "dog"}, "val": {"val/1.jpg": "dog"}}
    assert layout.notes == ["1 images left out: labels.csv does not list them (first: x/2.jpg)"]


def test_a_table_elsewhere_comes_before_any_other_layout_and_one_in_the_folder_before_class_folders(tmp_path):
    write_class_folders(tmp_path / "data")
    (tmp_path / "own.csv").write_text("file,label,size\nred/2.png,warm,3\nblue/0.png,cold,4\ngreen/1.png,cold,4\n")
    layout = recognise(tmp_path / "data", labels=str(tmp_path / "own.csv"))
    assert labelled(layout)["train"] == {"red/2.png": "warm", "blue/0.png": "cold", "green/1.png": "cold"}
    assert layout.notes[0] == "columns of own.csv left out: 'size'"
    assert recognise(tmp_path / "data").kind == "class folders"
    (tmp_path / "own.csv").rename(tmp_path / "data/labels.csv")
    assert recognise(tmp_path / "data").kind == "table of labels"
    (tmp_path / "data/labels.csv").write_text("number,name\n0,red\n")
    layout = recognise(tmp_path / "data")
    assert layout.kind == "class folders" and "table left out: " in layout.notes[0]
    with pytest.raises(ValueError, match=r"labels.csv, line 1 has the columns 'number, name': expected one of file, "):
        recognise(tmp_path / "data", labels="labels.csv")
    with pytest.raises(ValueError, match="there is no table of labels nowhere.csv, neither here nor in "):
        recognise(tmp_path / "data", labels="nowhere.csv")
    write(write_voc(tmp_path / "voc"), images=())
    assert recognise(tmp_path / "voc").kind == "Pascal VOC"
    with pytest.raises(ValueError, match="holds table of labels .*, for task classify, not detect"):
        recognise(write(tmp_path / "x"), task="detect")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("e.jpg,cat", "labels.csv, line 6: there is no image 'e.jpg' in .*: add it, or remove the line"),
        ("../a.jpg,cat", "labels.csv, line 6: there is no image '../a.jpg'"),
        ("other/c.jpg,cat", "labels.csv, line 6: there is no image 'other/c.jpg'"),
        ("e.png,", "labels.csv, line 6 has no label for 'e.png'"),
        ("e.png,NaN", "labels.csv, line 6 has no label for 'e.png'"),
        (",cat", "labels.csv, line 6 names no file"),
        ("a.jpg", "labels.csv, line 6 has 1 cells: expected 2"),
        ("a.jpg,cat,3", "labels.csv, line 6 has 3 cells: expected 2"),
        ("a.jpg,dog", "labels.csv, line 6 has a.jpg as dog of train, and line 2 as cat of train: keep one of them"),
        ('"x\ny.jpg",dog', r"line 7: there is no image 'x\\ny.jpg'"),
    ],
)
def test_what_is_wrong_with_a_row_is_named_with_its_line_and_the_rest_is_looked_through(tmp_path, row, message):
    with pytest.raises(ValueError, match=message) as caught:
        recognise(write(tmp_path, f"file,label\n{ROWS}{row}\n"))
    assert "\n" not in str(caught.value)
    checked = check_folder(tmp_path)
    assert [finding.count for finding in checked.layout.findings.of("error")] == [1]
    assert labelled(checked.layout) == EXPECTED


def test_a_row_that_is_there_again_counts_once(tmp_path):
    layout = recognise(write(tmp_path, f"file,label\n{ROWS}deep/c.jpg,cat\n"))
    assert labelled(layout) == EXPECTED
    assert layout.notes == ["1 rows that name an image again: it counts once (first: line 6: deep/c.jpg)"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "labels.csv is empty"),
        ("file,label\n", "labels.csv has no label for training: there must be two classes or more"),
        ("file,label\na.jpg,cat\n", "labels.csv has the label cat alone for training"),
        ("file,label,label\na.jpg,cat,dog\n", "line 1 has the column 'label' twice"),
        (
            "file,label,split\na.jpg,cat,train\nb.jpg,dog,maybe\n",
            "line 3 has the split 'maybe': expected train, val or",
        ),
        ('file,label\na.jpg,"cat\n', r"labels.csv, line 2 cannot be read as CSV \(unexpected end of data\)"),
        ("file,label\na.jpg," + "x" * 200_000, "line 2 cannot be read as CSV .field larger than"),
        ("file,label\na.jpg,cat\n".encode("utf-16"), "labels.csv cannot be read as text: save it as CSV in UTF-8"),
    ],
)
def test_what_is_wrong_with_the_table_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        recognise(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_class_that_no_training_image_has_is_named(tmp_path):
    rows = "a.jpg,cat,train\nb.jpg,dog,train\nc.jpg,cow,val\nd.jpg,cat,val\n"
    with pytest.raises(ValueError, match="line 4 has the label 'cow', which no training image has"):
        recognise(write(tmp_path, f"file,label,split\n{rows}"))


def test_two_images_that_may_be_meant_are_named(tmp_path):
    with pytest.raises(ValueError, match="line 2: '1.jpg' may be x/1.jpg or y/1.jpg: write its folder as well"):
        recognise(write(tmp_path, "file,label\n1.jpg,cat\n", images=("x/1.jpg", "y/1.jpg")))


def test_check_data_takes_the_table_and_says_how_to_train_on_it(tmp_path, capsys):
    write(tmp_path / "own", name="mine.csv")
    check_data.main([str(tmp_path / "own"), "--labels", "mine.csv"])
    out = capsys.readouterr().out
    assert out.startswith("table of labels, for --task classify") and "--data.labels mine.csv" in out
    (tmp_path / "own/mine.csv").write_text("file,label\n" + ROWS + "e.jpg,cat\n")
    with pytest.raises(RunError, match="1 error, see above"):
        check_data.main([str(tmp_path / "own"), "--labels", "mine.csv"])
