"""Lines of output: no character and no state of the streams ends a program."""

import io
import os
import subprocess
import sys

import pytest

from engine.contract.registry import brief
from engine.terminal import complain, printable, with_bar
from tests.tiny import ROOT

PROGRAM = """
import sys
from engine.errors import UsageError
from engine.terminal import say

def main(arguments):
    for name in ("caf\\u00e9", "\\ud800", "\\x1b[31mred", "two\\nlines"):
        say(name)
    with open("file", "w") as file:  # which a closed stream must not lend its number to
        assert file.fileno() > 2
    if arguments:
        raise UsageError("caf\\u00e9")
"""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
@pytest.mark.parametrize("streams", ["", ">/dev/full", ">&-", "2>&-", ">&- 2>&-", "2>/dev/full"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_streams_decide_nothing(tmp_path, encoding, streams, fails):
    if streams.endswith("full") and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    (tmp_path / "program.py").write_text(PROGRAM)
    code = "from engine.start import run_command; import program; run_command(program.main)"
    start = f'"{sys.executable}" -c "{code}" {"x" * fails} {streams}'
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
        "PYTHONIOENCODING": encoding,
    }
    done = subprocess.run(start, shell=True, cwd=tmp_path, env=environment, capture_output=True, check=False)
    cafe = {"utf-8": b"caf\xc3\xa9", "ascii": b"caf\\xe9", "cp1252": b"caf\xe9"}[encoding]
    assert done.returncode == (2 if fails else 0)
    assert done.stdout == (b"" if streams.startswith(">") else cafe + b"\n?\n?[31mred\ntwo?lines\n")
    assert done.stderr == (b"error: " + cafe + b"\n" if fails and "2>" not in streams else b"")


def test_values_are_shown_in_one_short_line():
    assert printable("a\x1b]0;b\x07\nc\u202ed") == "a?]0;b??c?d"
    assert brief("x" * 100, 10) == "'xxxxxxxxx..."
    assert brief(16**5000) == "a very long int"


def test_a_line_on_what_is_wrong_has_an_end(capsys):
    complain("x" * 10**6)
    assert len(capsys.readouterr().err) < 5000


QUIET = """
import warnings
from engine.terminal import quieten
quieten()
warnings.warn("this dataloader does not have many workers", stacklevel=1)
warnings.warn("mind this", stacklevel=1)
"""


@pytest.mark.parametrize(("rank", "shown"), [("0", "program.py:6: UserWarning: mind this\n"), ("1", "")])
def test_a_warning_that_is_not_known_keeps_its_file_and_line(tmp_path, rank, shown):
    program = tmp_path / "program.py"
    program.write_text(QUIET)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RANK": rank}
    done = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.removeprefix(f"{tmp_path}{os.sep}").partition("  warnings.warn")[0] == shown


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_is_for_terminals_and_hands_everything_on(monkeypatch, is_terminal):
    stream = io.StringIO()
    stream.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    assert list(with_bar(iter("abc"), 3, "reading train")) == ["a", "b", "c"]
    assert ("reading train" in stream.getvalue()) is is_terminal
