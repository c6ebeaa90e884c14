import pytest

from engine.contract.registry import check_options, closest, look_up


def test_closest_name_is_suggested_only_when_near():
    assert closest("acelerator", ["accelerator", "devices"]) == "; did you mean accelerator?"
    assert closest("zzz", ["accelerator", "devices"]) == ""


def test_unknown_name_lists_the_valid_ones():
    with pytest.raises(ValueError, match="unknown fruit 'aple'; did you mean apple\\?; choose from: apple, pear"):
        look_up("fruit", "aple", {"apple": 1, "pear": 2})


def test_unknown_option_is_refused():
    def build(width: int = 3) -> int:
        return width

    check_options("thing", {"width": 4}, build)
    with pytest.raises(ValueError, match="thing has no option 'widht'; did you mean width\\?"):
        check_options("thing", {"widht": 4}, build)
