"""The report of a run made again, or a page that compares runs: what scripts/report.py does."""

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
START = 1000  # bytes of a page within which it names its maker
FILES = ("summary.json", "metrics.csv")  # either makes a folder that of a run


def main(arguments: list[str]) -> None:
    """Write the report of one run, or compare several; print where.

    Raises:
        UsageError: the command line makes no sense, or a folder is not that of a run.
        RunError: the page cannot be written.
    """
    given = report_arguments(arguments)
    folders = [Path(run) for run in given.runs]
    for folder in folders:
        try:
            found, is_folder = any((folder / name).exists() for name in FILES), folder.is_dir()
        except OSError as error:
            raise UsageError(f"{brief(str(folder))} is no run's folder: {error.strerror}") from error
        if not found:
            what = "is no run's folder" if is_folder else "is no folder"
            raise UsageError(f"{folder} {what}: expected one that holds {' or '.join(FILES)}, such as checkpoints/NAME")
    if len(folders) == 1 and given.output is not None:
        raise UsageError("--output is for a comparison of runs; one run's report is report.html in its folder")
    try:
        if len(folders) == 1:
            path = write_report(folders[0])
        else:
            path = check_output(given.output or str(folders[0].absolute().parent / NAME), [".html"])
            _check_ours(path)
            write_text(comparison(folders), path)
    except OSError as error:
        raise RunError(f"the page cannot be written ({error})") from error
    say(f"written: {path}")


def _check_ours(path: Path) -> None:
    """Refuse to replace a file that is no comparison of runs."""
    if path.exists():
        with open(path, "rb") as file:
            start = file.read(START)
        if MAKER.format(template=TEMPLATE).encode() not in start:
            raise UsageError(f"--output {path} is there already, and no comparison of runs: choose another name")
