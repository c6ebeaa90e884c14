"""Tasks: a backbone, a head, a loss, metrics and an optimiser joined into a LightningModule."""

from engine.contract.task import Task
from project.tasks.classifier import LitClassifier
from project.tasks.detector import LitDetector
from project.tasks.multilabel import LitMultiLabel
from project.tasks.regressor import LitRegressor
from project.tasks.segmenter import LitSegmenter
from project.tasks.translator import LitTranslator

TASKS: dict[str, type[Task]] = {
    "classify": LitClassifier,
    "segment": LitSegmenter,
    "detect": LitDetector,
    "translate": LitTranslator,
    "regress": LitRegressor,
    "multilabel": LitMultiLabel,
}
