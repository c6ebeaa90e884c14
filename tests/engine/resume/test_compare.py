import pytest
import torch

from engine.resume.compare import differences

NAN = float("nan")


@pytest.mark.parametrize(
    "value",
    [
        NAN,
        (1, [NAN, "a", None]),
        torch.tensor([NAN, 1.0]),
        torch.tensor(True),
        torch.zeros(0, 3),
        torch.zeros(3, dtype=torch.bfloat16),
        torch.arange(6).reshape(2, 3).t(),
        torch.eye(3).to_sparse(),
        torch.empty(3, device="meta"),
        torch.zeros(1).expand(10**9, 10**9),
    ],
)
def test_a_value_is_equal_to_its_copy_and_to_no_other_kind(value):
    copy = value.detach() if isinstance(value, torch.Tensor) else value
    assert differences({"a": value}, {"a": copy}) == []
    assert differences({"a": value}, {"a": torch.ones(2, 2)}) == ["/a"]
    assert differences({"a": value}, {"a": "b"}) == ["/a"]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (0.0, -0.0),
        (torch.tensor(0.0), torch.tensor(-0.0)),
        (1, True),
        ([1], [1, 1]),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.eye(3).to_sparse(), 2 * torch.eye(3).to_sparse()),
        (torch.zeros(1).expand(10**9), torch.ones(1).expand(10**9)),
    ],
)
def test_every_bit_counts(a, b):
    assert differences({"x": [0, a]}, {"x": [0, b]}) == ["/x/1"]


def test_places_are_in_the_order_of_the_file():
    a, b = {"z": 1, "a": {"x": 1, "y": 2}, "run": 1}, {"z": 2, "a": {"x": 1, "y": 3, "w": 4}, "run": 2, "v": 1}
    assert differences(a, b) == ["/v", "/z", "/a/w", "/a/y"]


def test_what_is_deep_shared_or_within_itself_comes_to_an_end():
    deep, other = [0], [1]
    for _ in range(20_000):
        deep, other = [deep], [other]
    assert differences(deep, other) == ["/0" * 20_001]
    a, b = [1], [1]
    for _ in range(200):
        a, b = [a, a], [b, b]
    a.append(a)
    b.append(b)
    assert differences(a, b) == []
