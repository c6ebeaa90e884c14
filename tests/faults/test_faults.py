"""The cheapest of the faults in every test run, the others under the marker `slow`; the whole table is a command."""

import pytest

from tests.faults.cases import CASES

QUICK = {"kill -9": 1, "SIGTERM, SIGINT, SIGUSR1": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for the quick ones, which compare with the same whole run."""
    return tmp_path_factory.mktemp("faults")


@pytest.mark.parametrize("name", QUICK)
def test_fault_is_survived(folder, name):
    survives(name, folder, QUICK[name])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tries"), [(name, quick) for name, _, quick, _ in CASES])
def test_fault_is_survived_again_and_again(tmp_path, name, tries):
    survives(name, tmp_path, tries)


def survives(name, folder, tries):
    case = {other: function for other, function, *_ in CASES}[name]
    tried, survived, remark = case(folder, tries)
    assert survived == tried > 0, remark
