import os
import sys

import pytest
import torch

from engine.data import cache as caching
from engine.data.cache import Cache, cache_bytes, wants_cache

SPECS = [((3, 2, 2), torch.uint8), ((3,), torch.int32)]


def planes(value):
    return [torch.full((3, 2, 2), value, dtype=torch.uint8), torch.tensor([value, -value, 70_000], dtype=torch.int32)]


def test_what_is_put_in_comes_out_and_nothing_else():
    cache = Cache(3, SPECS)
    assert cache.get(1) is None
    cache.put(1, planes(200))
    assert all(torch.equal(a, b) for a, b in zip(cache.get(1), planes(200), strict=True))
    assert cache.get(0) is None and cache.get(2) is None


@pytest.mark.skipif(sys.platform != "linux", reason="processes are not forked elsewhere")
def test_a_forked_process_fills_the_same_memory():
    cache = Cache(2, SPECS)
    child = os.fork()
    if child == 0:
        cache.put(0, planes(7))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert all(torch.equal(a, b) for a, b in zip(cache.get(0), planes(7), strict=True))


def test_bytes_are_those_of_the_tensors_and_one_more_each():
    assert cache_bytes(10, SPECS) == 10 * (12 + 12 + 1)


@pytest.mark.skipif(sys.platform != "linux", reason="there is no cache elsewhere")
@pytest.mark.parametrize(
    ("mode", "needed", "processes", "expected"),
    [
        ("auto", 500, 1, True),
        ("auto", 501, 1, False),
        ("auto", 300, 2, False),
        ("ram", 900, 1, True),
        ("none", 1, 1, False),
    ],
)
def test_a_cache_takes_half_of_what_is_free_or_more_if_asked(monkeypatch, mode, needed, processes, expected):
    monkeypatch.setattr(caching, "available_memory", lambda: 1000)
    assert wants_cache(mode, needed, processes) is expected


def test_what_does_not_fit_or_is_no_mode_is_refused(monkeypatch):
    monkeypatch.setattr(caching, "available_memory", lambda: 2**30)
    with pytest.raises(ValueError, match="cache is auto, ram or none, got 'disk'"):
        wants_cache("disk", 0)
    if sys.platform == "linux":
        with pytest.raises(ValueError, match=r"the images take 3.0 GiB and 1.0 GiB are free: use a smaller image_size"):
            wants_cache("ram", 2**30, 3)
