import gzip

import numpy as np
import pytest

from engine.contract.parts import build_data
from engine.files import check_data
from project.data.mnist_files import idx_bytes
from tests.tiny import TINY_FILES


def write(folder, packed=False, **changed):
    folder.mkdir(exist_ok=True)
    for name, content in {**TINY_FILES, **{k.replace("_", "-"): v for k, v in changed.items()}}.items():
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    return str(folder)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_of_others_are_data_of_their_own(tmp_path, packed):
    generator = np.random.default_rng(0)
    images, labels = generator.integers(0, 99, (360, 20, 30), np.uint8), np.arange(360, dtype=np.uint8) % 4
    changed = {"train_images_idx3_ubyte": idx_bytes(images), "train_labels_idx1_ubyte": idx_bytes(labels)}
    data = build_data(write(tmp_path / "x", packed, **changed), "classify", 0, val_size=1 / 6, batch_size=30)
    data.prepare_data()
    data.setup("fit")
    assert data.image_size == (20, 30) and data.class_names == tuple("0123456789")  # of the test's labels
    assert {stage: len(store) for stage, store in data.stores.items()} == {"train": 300, "val": 60, "test": 90}
    assert data.mean[0] == pytest.approx(images.mean() / 255) and data.std[0] == pytest.approx(images.std() / 255)
    batch, targets = next(iter(data.train_dataloader()))
    assert batch.shape == (30, 1, 20, 30) and int(targets.max()) < 4
    named = build_data(str(tmp_path / "x"), "classify", 0, val_size=0, classes=list("abcdefghijk"))
    assert named.class_names == tuple("abcdefghijk")


def test_idx_files_that_do_not_fit_are_named(tmp_path, capsys):
    folder = write(tmp_path / "x")
    check_data.main([folder])
    assert "10 classes, 28 x 28 pixels" in capsys.readouterr().out
    with pytest.raises(ValueError, match="classes lists 1, but the labels in .* are 0 to 9: list them all"):
        build_data(folder, "classify", 0, classes=["a"])
    with pytest.raises(ValueError, match="val_size is a share of the images"):
        build_data(folder, "classify", 0, val_size=5000)
    with pytest.raises(ValueError, match="is for task classify, not detect"):
        build_data(folder, "detect", 0)
    write(tmp_path / "x", train_labels_idx1_ubyte=idx_bytes(np.zeros(9, np.uint8)))
    with pytest.raises(ValueError, match=r"the train files hold \(360, 28, 28\) and \(9,\): expected"):
        build_data(folder, "classify", 0)
    write(tmp_path / "x", train_labels_idx1_ubyte=b"text")
    with pytest.raises(ValueError, match="x/train-labels-idx1-ubyte: not an IDX file"):
        build_data(folder, "classify", 0)
