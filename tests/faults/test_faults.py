"""A kill in every test run, the other faults under the marker `slow`; the whole table is a command."""

import pytest

from tests.faults.cases import CASES


def test_a_kill_is_survived(tmp_path):
    survives("kill -9", tmp_path, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tries"), [(name, quick) for name, _, quick, _ in CASES])
def test_fault_is_survived(tmp_path, name, tries):
    survives(name, tmp_path, tries)


def survives(name, folder, tries):
    case = {other: function for other, function, *_ in CASES}[name]
    tried, survived, remark = case(folder, tries)
    assert survived == tried > 0, remark
