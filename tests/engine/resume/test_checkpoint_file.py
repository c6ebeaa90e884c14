import os
import pickle
import resource
import zipfile

import pytest
import torch

from engine.resume.checkpoint_file import TEMPORARY, read_checkpoint, sweep, write_checkpoint, write_text


def content(value=1.0):
    return {"state_dict": {"w": torch.full((500,), value)}, "hyper_parameters": {}, "task": "classify"}


def value(path):
    return read_checkpoint(path)["state_dict"]["w"][0].item()


def test_round_trip_and_what_is_replaced_is_kept(tmp_path):
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for i in (1, 2, 3):
        write_checkpoint(content(i), last, previous)
    assert (value(last), value(previous)) == (3, 2)
    assert sorted(os.listdir(tmp_path)) == ["last.ckpt", "previous.ckpt"]


@pytest.mark.parametrize("fails_at", ["save", "fsync", "replace"])
def test_a_failure_while_writing_leaves_what_was_there(tmp_path, monkeypatch, fails_at):
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    write_checkpoint(content(1), last, previous)
    write_checkpoint(content(2), last, previous)

    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr({"save": "torch.save", "fsync": "os.fsync", "replace": "os.replace"}[fails_at], fail)
    with pytest.raises(OSError, match=r"checkpoint .*last.ckpt could not be written .*No space left"):
        write_checkpoint(content(3), last, previous)
    monkeypatch.undo()
    assert (value(last), value(previous)) == (2, 1)
    assert sorted(os.listdir(tmp_path)) == ["last.ckpt", "previous.ckpt"]


def test_a_disk_that_fills_up_within_a_checkpoint_is_named_as_the_cause(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # torch fails with "unexpected pos" then
    try:
        with pytest.raises(OSError, match=r"last.ckpt could not be written .File too large.$"):
            write_checkpoint(content(), tmp_path / "last.ckpt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("blocked", ["full", "folder"])
def test_a_text_that_cannot_be_written_leaves_nothing_and_is_named(tmp_path, monkeypatch, blocked):
    path = tmp_path / "config.yaml"
    if blocked == "folder":
        path.mkdir()
    else:
        monkeypatch.setattr("os.replace", lambda *names: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match=r"\[Errno \d+\] .*: '.*/config.yaml'$"):
        write_text("a: 1", path)
    assert os.listdir(tmp_path) == (["config.yaml"] if blocked == "folder" else [])


def test_leftovers_of_killed_writers_are_swept(tmp_path):
    write_checkpoint(content(), tmp_path / "last.ckpt")
    (tmp_path / f"{TEMPORARY}last.ckpt-abc").write_bytes(b"half")
    sweep(tmp_path)
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_any_flipped_bit_of_a_weight_is_noticed(tmp_path):
    path = tmp_path / "last.ckpt"
    write_checkpoint(content(), path)
    whole = path.read_bytes()
    start = whole.index(torch.ones(500).numpy().tobytes())
    for place in (start, start + 999, start + 1999):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"last.ckpt is damaged"):
            read_checkpoint(path)


def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path):
    path = tmp_path / "last.ckpt"
    write_checkpoint(content(), path)
    whole = path.read_bytes()
    for damage in (b"", b"some text", whole[:1000], whole[:-30]):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match=r"last.ckpt is not a whole checkpoint") as caught:
            read_checkpoint(path)
        assert "\n" not in str(caught.value)
    torch.save(content()["state_dict"], path)
    with pytest.raises(ValueError, match="is not a checkpoint of this project"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(ValueError, match="is not a checkpoint that can be read"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(ValueError, match="is not a whole checkpoint .*its parts are compressed"):
        read_checkpoint(path)
    with pytest.raises(ValueError, match="is a folder, not a checkpoint"):
        read_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "none.ckpt")
    with pytest.raises(ValueError, match="is a URL"):
        read_checkpoint("https://example.com/best.ckpt")


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("variable", ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "NOTHING"])
def test_a_hostile_file_runs_nothing_whatever_the_environment_says(tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    trap = str(tmp_path / "ran")
    torch.save({**content(), "extra": Hostile(trap)}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="holds more than plain values"):
        read_checkpoint(tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps(Hostile(trap)))
    with pytest.raises(ValueError, match="is not a whole checkpoint"):
        read_checkpoint(tmp_path / "b.ckpt")
    assert not os.path.exists(trap)


def lists_within(depth, number=1):
    value = ["x"]
    for _ in range(depth):
        value = [value] * number
    return value


@pytest.mark.parametrize("kind", ["many times over", "deep", "within itself", "deep in two parts"])
def test_values_without_end_are_refused(kind, tmp_path):
    value = lists_within(*{"many times over": (40, 10), "deep": (120,)}.get(kind, (60,)))
    if kind == "within itself":
        value.append(value)
    if kind == "deep in two parts":
        outer = value
        for _ in range(60):
            outer = [outer]
        value = [value, outer]
    for content_with_it in ({**content(), "hyper_parameters": {"a": value}}, {**content(), "task": value}):
        torch.save(content_with_it, tmp_path / "a.ckpt")
        with pytest.raises(
            ValueError, match="a.ckpt is not a checkpoint that can be read .its values are nested endlessly"
        ):
            read_checkpoint(tmp_path / "a.ckpt")


def test_a_list_that_a_few_parts_share_is_read(tmp_path):
    shared = lists_within(3, 4)
    torch.save({**content(), "run": {"a": shared, "b": [shared, (shared, {"c": shared})]}}, tmp_path / "a.ckpt")
    assert read_checkpoint(tmp_path / "a.ckpt")["run"]["a"] == shared
