"""What texts of the command line can mean besides themselves."""

import pytest

from engine.config.yaml_files import readings
from engine.contract.registry import as_type


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("3", [3]), ("1e-3", [0.001]), ("1.5", [1.5]), ("true", [True]), ("null", [None]), ("[4, 1e-3]", [[4, "1e-3"]]),
        ("{days: 1}", [{"days": 1}]), ("cnn", []), ("resnet18", []), ("16-mixed", []), ("", []), (" ", []),
        ("# no comment", []), ("'x'", []), ("nan", []), ("[1", []), ("*a", []), ("2024-01-01", []),
        ("!!python/object/apply:os.getcwd []", []), ("[" * 5000, []), ("1" * 5000, []),
    ],
)  # fmt: skip
def test_a_text_stands_for_the_value_that_yaml_gives_it(text, meant):
    found = list(readings(text))
    assert found == meant and list(map(type, found)) == list(map(type, meant))


def test_a_text_within_a_list_is_read_as_well():
    assert as_type("[4, 1e-3]", list[float] | None, readings=readings) == [4.0, 0.001]
