"""Checkpoint files: written so that a kill cannot lose one, read so that a damaged or hostile one does no harm.

A checkpoint is torch's zip archive. Every record in it carries a CRC-32, which torch writes but does not check when
loading. `read_checkpoint` checks it, so a flipped bit is an error and not a silently different network. The checksum
lives inside the file: it cannot get lost or go stale.
"""

import contextlib
import errno
import os
import pickle
import shutil
import uuid
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.contract.errors import UserError
from engine.contract.registry import brief
from engine.inputs.reading import regular

TEMPORARY = ".writing-"  # prefix of incomplete files
MAX_VALUES, MAX_DEPTH = 10_000_000, 100  # of a checkpoint; a shared value counts at every place


def write_checkpoint(content: dict[str, Any], path: Path, previous: Path | None = None) -> None:
    """Write a checkpoint; a whole one is at `path` at every moment if one was there before.

    The new file is written beside `path`, forced to the disk and then renamed, which is atomic. With `previous` the
    overwritten file is kept there: once both exist, neither is ever missing, and they never hold the same checkpoint.

    Raises:
        OSError: the disk is full or cannot be written; the old files are untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    kept = _temporary(previous) if previous is not None and path.exists() else None
    try:
        with open(temporary, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        if kept is not None:
            _same_file(path, kept)
        os.replace(temporary, path)
        if kept is not None and previous is not None:
            os.replace(kept, previous)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        for leftover in (temporary, kept):
            if leftover is not None:
                leftover.unlink(missing_ok=True)
        # If the disk is full, torch's own error hides the system's reason, which is its context.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else first_line(cause)
        number = getattr(cause, "errno", None) or errno.EIO
        raise OSError(number, f"checkpoint {path} could not be written ({reason})") from error


def write_text(text: str, path: Path) -> None:
    """Write a small text file atomically; characters that UTF-8 cannot encode, as in odd file names, are escaped.

    Raises:
        OSError: names `path`, for example because the disk is full or a folder is in its place.
    """
    temporary = _temporary(path)
    try:
        with open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write a file under; after the block the file is forced to the disk and moved to `path`.

    If the block raises, the file is removed, and `path` is untouched.
    """
    temporary = _temporary(path)
    try:
        yield temporary
        with open(temporary, "rb+") as file:  # Windows only syncs files opened for writing
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove incomplete files of killed writers."""
    for leftover in folder.glob(f"{TEMPORARY}*"):
        leftover.unlink(missing_ok=True)


def read_checkpoint(path: Any, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint: plain values and tensors only, every byte checked against its checksum.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: `path` is a URL, a folder, or a file that is damaged, cut short, or not a checkpoint of ours.
    """
    if "://" in str(path):
        raise UserError(f"{path} is a URL: checkpoints are read from this machine only; download it first")
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a checkpoint; did you mean {path / 'best.ckpt'}?")
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    content = read_tensors(path, map_location)
    if not isinstance(content, dict) or not {"state_dict", "hyper_parameters", "task"} <= content.keys():
        raise UserError(f"{path} is not a checkpoint of this project: it has no task, hyperparameters and weights")
    for name, kind in {"task": str, "hyper_parameters": dict, "state_dict": dict, "run": dict}.items():
        if name in content and not isinstance(content[name], kind):
            raise UserError(f"{path} is not a checkpoint of this project: its {name} is {brief(content[name])}")
    for name, value in content["state_dict"].items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(f"{path} is not a checkpoint of this project: its weight {brief(name)} is no tensor")
    return content


def read_tensors(path: Path, map_location: Any = "cpu", legacy: bool = False) -> Any:
    """Read a file that torch saved: plain values and dense tensors only, every byte checked against its checksum.

    With `legacy`, files from before torch 1.6 are read too; they are no archives and have no checksums.

    Raises:
        OSError: there is no such file, or it cannot be read.
        UserError: the file is damaged, cut short, or holds something else.
    """
    if not legacy or zipfile.is_zipfile(path):
        _check_whole(path)
    try:
        # Opened here because torch would choose its reader by the file's name. It warns about values refused below.
        with open(path, "rb") as file, warnings.catch_warnings(action="ignore"):
            # Always explicit: `weights_only=True` keeps a file from running code.
            content = torch.load(file, map_location=map_location, weights_only=True)
        _check_values(content)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} holds more than plain values and tensors, so it is not loaded") from error
    except (RuntimeError, EOFError, LookupError, AttributeError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path} is not a checkpoint that can be read ({first_line(error)})") from error
    return content


def _check_values(content: Any) -> None:
    """Refuse tensors that are sparse, quantised or larger than their stored bytes, and endlessly nested values.

    A pickle can repeat a list many times, or nest it within itself, so few bytes can stand for more values than any
    loop over them could finish.
    """
    seen: dict[int, tuple[int, int]] = {}  # number of values at all depths, and depth, per list or mapping

    def measure(value: Any, above: int) -> tuple[int, int]:
        if isinstance(value, Tensor):
            dense = value.layout == torch.strided and value.device.type != "meta" and not value.is_quantized
            if not dense or value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise UserError(f"it holds a tensor of shape {tuple(value.shape)} that is not stored whole")
        if not isinstance(value, (dict, list, tuple, set, frozenset)):
            return 1, 0
        if id(value) not in seen:
            count, depth = 1, 0
            for inner in value.values() if isinstance(value, dict) else value:
                more, deeper = (1, 0) if above == MAX_DEPTH else measure(inner, above + 1)
                count, depth = count + more, max(depth, deeper + 1)
            seen[id(value)] = count, depth
            if count > MAX_VALUES or above + depth > MAX_DEPTH:
                raise UserError("its values are nested endlessly")
        return seen[id(value)]

    measure(content, 0)


def _check_whole(path: Path) -> None:
    try:
        with zipfile.ZipFile(regular(path)) as archive:
            parts = archive.infolist()
            if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
                raise UserError("its parts are compressed, as torch never writes them")  # and could unpack endlessly
            names = {part.filename.lower() for part in parts}
            if len(names) < len(parts) or sum(part.file_size for part in parts) > path.stat().st_size:
                raise UserError("its parts overlap, or have the same names")  # so reading them could be endless, too
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        size = path.stat().st_size
        raise UserError(f"{path} is not a whole checkpoint ({size:,} bytes; {first_line(error)})") from error
    if damaged is not None:
        raise UserError(f"{path} is damaged: its part {damaged} does not match its checksum")


def _temporary(path: Path) -> Path:
    # The suffix stays, and a long name is cut so that the prefix does not exceed the file system's limit.
    return path.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{path.name[-50:]}")


def _same_file(path: Path, other: Path) -> None:
    try:
        os.link(path, other)
    except OSError:  # a file system without hard links
        shutil.copy2(path, other)


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some systems cannot open a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if the message is empty."""
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
