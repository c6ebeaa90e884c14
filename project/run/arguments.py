"""Command lines of a few arguments, for the scripts that need no more."""

import argparse
from typing import NoReturn

from project.run.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; {self.prog} --help says more")
