"""Reading files that others put there: regular files only, and never more of one than was expected."""

import errno
import os
import stat
from pathlib import Path

MIB = 2**20


class UnfitFile(OSError):
    """A path leads to something else than a regular file of a sensible size; `strerror` says to what."""

    def __init__(self, path: str | os.PathLike[str], what: str) -> None:
        super().__init__(errno.EINVAL, what, str(path))

    def __str__(self) -> str:
        return f"{self.filename} is {self.strerror}"


def regular(path: str | os.PathLike[str]) -> Path:
    """Return the path, if it leads to a regular file: a pipe or a device could be read without end.

    Raises:
        FileNotFoundError: there is nothing.
        UnfitFile: it is something else.
        OSError: its name is too long, or a folder above it cannot be entered.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise UnfitFile(path, f"a {'folder' if stat.S_ISDIR(mode) else 'pipe or device'}, not a file")
    return Path(path)


def read_bytes(path: str | os.PathLike[str], limit: int = 64 * MIB) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        OSError: there is no such file, or it cannot be read, or it is larger.
    """
    with open(regular(path), "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise UnfitFile(path, f"larger than {limit / MIB:,.0f} MiB, more than such a file takes")
    return content


def read_text(path: str | os.PathLike[str], limit: int = 64 * MIB, errors: str = "strict") -> str:
    """Return the text of a regular file in UTF-8, without a byte-order mark; line ends as they are.

    Raises:
        OSError: as `read_bytes`.
        UnicodeDecodeError: it is no UTF-8, unless `errors` says what to do then.
    """
    return read_bytes(path, limit).decode("utf-8-sig", errors)
