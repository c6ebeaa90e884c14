"""Only regular files of a sensible size are read, whatever a path leads to."""

import os
import sys

import pytest

from engine.inputs.reading import UnfitFile, read_bytes, read_text, regular


def test_a_file_is_read_whole_and_without_its_byte_order_mark(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    assert read_text(tmp_path / "a.txt") == "one\r\ntwo"
    assert read_bytes(tmp_path / "a.txt", limit=11) == b"\xef\xbb\xbfone\r\ntwo"
    with pytest.raises(UnfitFile, match="larger than"):
        read_bytes(tmp_path / "a.txt", limit=10)


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes in folders there")
def test_what_could_be_read_without_end_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for path, message in (("pipe", "pipe or device"), ("link", "pipe or device"), (".", "is a folder, not a file")):
        with pytest.raises(UnfitFile, match=message):
            read_bytes(tmp_path / path)
    with pytest.raises(FileNotFoundError):
        regular(tmp_path / "none")
