"""Reading files of unknown origin: regular files only, up to a size limit."""

import errno
import os
import stat
from pathlib import Path

MIB = 2**20


class UnfitFile(OSError):
    """A path does not lead to a regular file of a sensible size; `strerror` says to what it leads."""

    def __init__(self, path: str | os.PathLike[str], what: str) -> None:
        super().__init__(errno.EINVAL, what, str(path))

    def __str__(self) -> str:
        return f"{self.filename} is {self.strerror}"


def regular(path: str | os.PathLike[str]) -> Path:
    """Return the path if it leads to a regular file; reading a pipe or a device might never end.

    Raises:
        FileNotFoundError: the file does not exist.
        UnfitFile: it is not a regular file.
        OSError: its name is too long, or a folder above it cannot be entered.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise UnfitFile(path, f"a {'folder' if stat.S_ISDIR(mode) else 'pipe or device'}, not a file")
    return Path(path)


def read_bytes(path: str | os.PathLike[str], limit: int = 64 * MIB) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        OSError: the file does not exist, cannot be read, or is larger.
    """
    with open(regular(path), "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise UnfitFile(path, f"larger than {limit / MIB:,.0f} MiB, too large for such a file")
    return content


def read_text(path: str | os.PathLike[str], limit: int = 64 * MIB, errors: str = "strict") -> str:
    """Return the text of a regular UTF-8 file, without a byte-order mark; line endings are kept.

    Raises:
        OSError: as `read_bytes`.
        UnicodeDecodeError: the file is not UTF-8, and `errors` is 'strict'.
    """
    return read_bytes(path, limit).decode("utf-8-sig", errors)
