"""Installs the package `project`; what it needs is in requirements.txt."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
LINES = (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()
DEMO = ["gradio>=6.31,<7"]  # the page
# To write ONNX files, and to run them.
EXPORT = ["onnx>=1.19,<2", "onnxscript>=0.6,<0.8", "onnxruntime>=1.23,<2"]
REQUIREMENTS = [need for line in LINES if (need := line.partition("#")[0].strip())]

setup(
    name="project",
    version="0.1.0",
    description="A PyTorch Lightning project template: a backbone plus a head, from MNIST to your own images",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=[*find_packages(include=["project", "project.*", "engine", "engine.*", "benchmarks"]), "configs.defaults"],
    package_data={"engine.report": ["*.html", "*.css"], "configs.defaults": ["*.yaml"]},
    install_requires=REQUIREMENTS,
    extras_require={
        "demo": DEMO,
        "export": EXPORT,
        "dev": [
            *DEMO,
            *EXPORT,
            "playwright>=1.50,<2",  # drives a browser that is there already, if any
            "pytest>=8.3,<10",
            "pytest-randomly>=3.16,<6",
            "pytest-xdist>=3.6,<4",
            "ruff>=0.15,<1",
            "mypy>=1.15,<3",
            "types-PyYAML>=6.0.12",
            "pre-commit>=4,<5",
        ],
    },
)
