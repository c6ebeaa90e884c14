"""The releases of other libraries: each has a ceiling, and constraints.txt names one that it admits."""

import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.tiny import ROOT

NO_CEILING = {"torchvision", "types-PyYAML"}  # the first needs one release of torch, the second only checks types


def requirements(monkeypatch):
    """Return what setup.py asks for, extras included."""
    given = {}
    monkeypatch.setattr(setuptools, "setup", lambda **options: given.update(options))
    code = compile((ROOT / "setup.py").read_text(), ROOT / "setup.py", "exec")
    exec(code, {"__file__": str(ROOT / "setup.py")})
    return [Requirement(text) for text in given["install_requires"] + given["extras_require"]["dev"]]


def test_every_requirement_has_a_ceiling_and_a_release_that_passed(monkeypatch):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    passed = dict(line.split("==") for line in lines if not line.startswith("#"))
    for need in requirements(monkeypatch):
        assert any(part.operator == "<" for part in need.specifier) or need.name in NO_CEILING, need
        assert need.specifier.contains(passed[canonicalize_name(need.name)]), need
