"""Which files are installed; what the package is called and needs is in pyproject.toml and requirements.txt."""

from setuptools import find_packages, setup

HOUSES = find_packages(include=["project", "project.*", "engine", "engine.*", "benchmarks"])

setup(
    packages=[*HOUSES, "scripts", "configs.defaults"],  # the console commands run the scripts as they are
    package_data={"engine.report": ["*.html", "*.css"], "configs.defaults": ["*.yaml"]},
)
