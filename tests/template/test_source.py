"""Python source without what is gone."""

from template.source import Gone, cut

GONE = Gone(words=frozenset({"detect"}))
BODY = "    assert True\n"


def left(text: str) -> str:
    return cut(f"import pytest\n\n\n{text}", GONE, tests=True).text


def test_a_test_goes_with_the_task_that_it_says_it_needs():
    both = f'@pytest.mark.task("detect")\ndef test_a():\n{BODY}\n\n@pytest.mark.task("classify")\ndef test_b():\n{BODY}'
    assert "test_a" not in left(both) and "test_b" in left(both)


def test_all_tests_of_a_file_go_with_the_task_or_the_fixture_that_they_share():
    test = f"\n\ndef test_a():\n{BODY}"
    for shared in (
        'pytestmark = pytest.mark.task("detect")\n',
        '@pytest.fixture(autouse=True)\ndef _():\n    assert "detect"\n',
    ):
        assert left(shared + test) == "" and left(shared.replace("detect", "classify") + test).count("def test_a") == 1
