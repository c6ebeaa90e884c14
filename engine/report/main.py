"""scripts/report.py: writes a run's report again, or a page that compares runs."""

from pathlib import Path

from engine.config.arguments import check_output, report_arguments
from engine.contract.registry import brief
from engine.errors import RunError, UsageError
from engine.report.comparison import TEMPLATE, comparison
from engine.report.page import MAKER
from engine.report.write import write_report
from engine.resume.checkpoint_file import write_text
from engine.terminal import say

NAME = "comparison.html"
START = 1000  # bytes at a page's start that hold its MAKER tag
FILES = ("summary.json", "metrics.csv")  # a run's folder has at least one


def main(arguments: list[str]) -> None:
    """Write the report of one run, or a comparison of several; print the page's path.

    Raises:
        UsageError: the command line is invalid, or a folder is not a run's.
        RunError: the page cannot be written.
    """
    given = report_arguments(arguments)
    folders = [Path(run) for run in given.runs]
    for folder in folders:
        try:
            found, is_folder = any((folder / name).exists() for name in FILES), folder.is_dir()
        except OSError as error:
            raise UsageError(f"{brief(str(folder))} is not a run's folder: {error.strerror}") from error
        if not found:
            what = "is not a run's folder" if is_folder else "is not a folder"
            raise UsageError(f"{folder} {what}: expected one with {' or '.join(FILES)}, such as checkpoints/NAME")
    if len(folders) == 1 and given.output is not None:
        raise UsageError("--output is for a comparison of runs; one run's report is report.html in its folder")
    try:
        if len(folders) == 1:
            path = write_report(folders[0])
        else:
            path = check_output(given.output or str(folders[0].absolute().parent / NAME), [".html"])
            check_ours(path)
            write_text(comparison(folders), path)
    except OSError as error:
        raise RunError(f"the page cannot be written ({error})") from error
    say(f"written: {path}")


def check_ours(path: Path) -> None:
    """Refuse to overwrite a file that is not a comparison of runs.

    Raises:
        UsageError: names the file.
    """
    if path.exists():
        with open(path, "rb") as file:
            start = file.read(START)
        if MAKER.format(template=TEMPLATE).encode() not in start:
            raise UsageError(f"{path} exists and is not a comparison of runs: choose another name")
