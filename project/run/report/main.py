"""The report of a run made again, or a page that compares runs: what scripts/report.py does."""

from pathlib import Path

from project.checkpoint_file import write_text
from project.run.arguments import Parser
from project.run.errors import RunError, UsageError
from project.run.report.comparison import comparison
from project.run.report.write import write_report
from project.run.terminal import say

FILES = ("summary.json", "metrics.csv")  # either makes a folder that of a run


def main(arguments: list[str]) -> None:
    """Write the report of one run, or compare several; print where.

    Raises:
        UsageError: the command line makes no sense, or a folder is not that of a run.
        RunError: the page cannot be written.
    """
    parser = Parser(prog="report.py", description="Make a run's report again, or compare runs on one page.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, such as checkpoints/NAME")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="page of a comparison; by default comparison.html beside the first run's folder",
    )
    given = parser.parse_args(arguments)
    folders = [Path(run) for run in given.runs]
    for folder in folders:
        if not any((folder / name).is_file() for name in FILES):
            what = "is no run's folder" if folder.is_dir() else "is no folder"
            raise UsageError(f"{folder} {what}: expected one that holds {' or '.join(FILES)}, such as checkpoints/NAME")
    if len(folders) == 1 and given.output is not None:
        raise UsageError("--output is for a comparison of runs; one run's report is report.html in its folder")
    try:
        if len(folders) == 1:
            path = write_report(folders[0])
        else:
            path = Path(given.output or folders[0].absolute().parent / "comparison.html")
            write_text(comparison(folders), path)
    except OSError as error:
        raise RunError(f"the page cannot be written ({error})") from error
    say(f"written: {path}")
