"""A backbone plus a head: train, resume and ship image models with PyTorch Lightning."""

from engine.shortcuts import settle

settle()  # before torch is imported

from pathlib import Path  # noqa: E402

from engine.contract.parts import Parts, build_backbone, build_head, hand_over, load_task  # noqa: E402
from engine.files.folders import FolderDataModule  # noqa: E402
from project.augmentations import AUGMENTATIONS  # noqa: E402
from project.backbones import BACKBONES, find_backbone  # noqa: E402
from project.data import DATA, OWN_DATA  # noqa: E402
from project.data.digit_pairs import DigitPairsDataModule  # noqa: E402
from project.data.digits import DigitsDataModule  # noqa: E402
from project.data.mnist import MNISTDataModule  # noqa: E402
from project.heads import HEADS  # noqa: E402
from project.tasks import TASKS  # noqa: E402
from project.tasks.classifier import LitClassifier  # noqa: E402
from project.tasks.detector import LitDetector  # noqa: E402
from project.tasks.multilabel import LitMultiLabel  # noqa: E402
from project.tasks.regressor import LitRegressor  # noqa: E402
from project.tasks.segmenter import LitSegmenter  # noqa: E402
from project.tasks.translator import LitTranslator  # noqa: E402

__version__ = "0.1.0"
__all__ = [
    "DigitPairsDataModule",
    "DigitsDataModule",
    "FolderDataModule",
    "LitClassifier",
    "LitDetector",
    "LitMultiLabel",
    "LitRegressor",
    "LitSegmenter",
    "LitTranslator",
    "MNISTDataModule",
    "build_backbone",
    "build_head",
    "load_task",
]

DEFAULTS = Path(__file__).parents[1] / "configs" / "defaults"
__path__.append(str(Path(__file__).parents[1] / "scripts"))  # `python -m project.train` runs scripts/train.py

hand_over(Parts(BACKBONES, find_backbone, HEADS, TASKS, DATA, OWN_DATA, DEFAULTS, AUGMENTATIONS))
