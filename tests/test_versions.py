"""The releases of other libraries: each has a ceiling, and constraints.txt names one that it admits."""

import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.tiny import ROOT

NO_CEILING = {"torchvision", "types-PyYAML"}  # the first needs one release of torch, the second only checks types


def requirements():
    """Return what the project asks for, extras included."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    own = settings["project"]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    extras = own["optional-dependencies"]
    texts = [line.partition("#")[0].strip() for line in lines] + [text for extra in extras.values() for text in extra]
    found = [Requirement(text) for text in texts if text]
    assert settings["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": ["requirements.txt"]}
    (all_extras,) = [need for need in found if need.name == own["name"]]
    assert all_extras.extras == extras.keys() - {"dev", "mlflow"}  # the tests need all the others
    return [need for need in found if need is not all_extras]


def test_every_requirement_has_a_ceiling_and_a_release_that_passed():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    passed = dict(line.split("==") for line in lines if not line.startswith("#"))
    for need in requirements():
        assert any(part.operator == "<" for part in need.specifier) or need.name in NO_CEILING, need
        assert need.specifier.contains(passed[canonicalize_name(need.name)]), need
