"""The cheapest of the faults in every test run, the others under the marker `slow`; the whole table is a command."""

import pytest

from tests.faults.cases import CASES

CHEAP = {"kill -9": 1, "SIGTERM, SIGINT, SIGUSR1": 1, "disk full": 1}


@pytest.mark.parametrize(
    ("name", "tries"),
    [
        pytest.param(name, CHEAP.get(name, quick), id=name, marks=[] if name in CHEAP else [pytest.mark.slow])
        for name, _, quick, _ in CASES
    ],
)
def test_fault_is_survived(tmp_path, name, tries):
    case = {other: function for other, function, *_ in CASES}[name]
    tried, survived, remark = case(tmp_path, tries)
    assert survived == tried > 0, remark
