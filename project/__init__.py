"""A backbone plus a head: train, resume and ship image models with PyTorch Lightning.

The names below are loaded on first use, so that importing the package costs nothing and runs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from project.backbones import build_backbone
    from project.data.digit_pairs import DigitPairsDataModule
    from project.data.digits import DigitsDataModule
    from project.data.folders import FolderDataModule
    from project.data.mnist import MNISTDataModule
    from project.heads import build_head
    from project.tasks import load_task
    from project.tasks.classifier import LitClassifier
    from project.tasks.detector import LitDetector
    from project.tasks.segmenter import LitSegmenter
    from project.tasks.translator import LitTranslator

__version__ = "0.1.0"

_HOME = {
    "DigitPairsDataModule": "project.data.digit_pairs",
    "DigitsDataModule": "project.data.digits",
    "FolderDataModule": "project.data.folders",
    "LitClassifier": "project.tasks.classifier",
    "LitDetector": "project.tasks.detector",
    "LitSegmenter": "project.tasks.segmenter",
    "LitTranslator": "project.tasks.translator",
    "MNISTDataModule": "project.data.mnist",
    "build_backbone": "project.backbones",
    "build_head": "project.heads",
    "load_task": "project.tasks",
}

__all__ = [
    "DigitPairsDataModule",
    "DigitsDataModule",
    "FolderDataModule",
    "LitClassifier",
    "LitDetector",
    "LitSegmenter",
    "LitTranslator",
    "MNISTDataModule",
    "build_backbone",
    "build_head",
    "load_task",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'project' has no attribute {name!r}")
