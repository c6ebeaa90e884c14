import os
import unicodedata

import pytest

from engine.inputs.folder import Findings, Folder, find_images
from engine.inputs.image_files import SUFFIXES
from tests.engine.files.test_layouts import touch


def test_images_are_found_in_files_and_folders_by_name(tmp_path):
    touch(tmp_path, "b.PNG", "in ner/a.jpg", "notes.txt", ".hidden/c.png", "._b.png", "__MACOSX/b.png")
    touch(tmp_path, ".store/1.jpg")
    os.symlink(tmp_path / ".store", tmp_path / "linked")
    os.symlink(tmp_path, tmp_path / "in ner" / "again")
    findings = Findings()
    expected = [tmp_path / "b.PNG", tmp_path / "in ner" / "a.jpg", tmp_path / "linked" / "1.jpg"]
    assert find_images([str(tmp_path)], findings) == expected and findings.of("warning") == []
    assert find_images([str(tmp_path / "notes.txt")]) == [tmp_path / "notes.txt"]
    with pytest.raises(FileNotFoundError, match=r"there is no image or folder .*nowhere"):
        find_images([str(tmp_path / "nowhere")])


def test_files_that_look_like_images_and_are_not_read_are_counted(tmp_path):
    touch(tmp_path, "a.heic", "in/B.HEIC", "in/scan", "notes.txt", "in/0.json")
    with pytest.raises(FileNotFoundError, match=r"holds no images \(.*, but 2 with .heic, 1 with no ending\)"):
        find_images([str(tmp_path)])
    findings = Findings()
    assert len(find_images([str(touch(tmp_path, "a.jpg"))], findings)) == 1
    (finding,) = findings.of("warning")
    assert (finding.count, finding.what) == (3, "files left out: their format is not read")
    assert finding.files == [str(tmp_path / name) for name in ("a.heic", "in/B.HEIC", "in/scan")]


def test_links_that_branch_come_to_an_end(tmp_path):
    for depth in range(30):
        touch(tmp_path, f"{depth}/x.png")
    for depth in range(29):
        for way in "abc":
            os.symlink(tmp_path / str(depth + 1), tmp_path / str(depth) / way)
    with pytest.raises(ValueError, match="100 links lead to it"):
        find_images([str(tmp_path / "0")])
    os.symlink("itself", tmp_path / "29" / "itself")
    assert find_images([str(tmp_path / "29")]) == [tmp_path / "29" / "x.png"]


def test_names_that_are_equal_in_composed_form_are_one(tmp_path):
    composed = "M\u00fcller \u00e9"
    apart = unicodedata.normalize("NFD", composed)
    folder = Folder(str(touch(tmp_path, f"{apart}/{apart}.png", "a.png", f"b/{composed}.png")))
    assert folder.find(f"{composed}/{composed}.png") == f"{apart}/{apart}.png"
    assert folder.find(f"b/{apart}.png") == f"b/{composed}.png" and folder.find("a.png") == "a.png"
    assert folder.find("a.png/b") is None and folder.find("b") is None and folder.find("c/d") is None


def test_every_ending_is_in_lower_case():
    assert all(end == end.lower() and end.startswith(".") for end in SUFFIXES)
