"""Command lines of a few arguments, for the scripts that need no more."""

import argparse
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from engine.contract.registry import brief
from engine.errors import UsageError
from engine.inputs.reading import UnfitFile, regular


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; {self.prog} --help says more")


def check_output(output: str, suffixes: Sequence[str]) -> Path:
    """Return the path of a file to be written, which is checked before any work is done for it.

    Raises:
        UsageError: it has another ending, or no file can be there.
    """
    path = Path(output)
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"--output {output}: expected a name that ends in {' or '.join(suffixes)}")
    try:
        if not path.absolute().parent.is_dir():
            raise UsageError(f"--output {output}: its folder does not exist")
        if not os.access(path.absolute().parent, os.W_OK):
            raise UsageError(f"--output {output}: its folder cannot be written to")
        with contextlib.suppress(FileNotFoundError):
            regular(path)
    except UnfitFile as error:
        raise UsageError(f"--output {error}") from error
    except OSError as error:
        raise UsageError(f"--output {brief(output)}: {error.strerror}") from error
    return path
