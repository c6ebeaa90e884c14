"""Options that have another name than they had: the former names are taken until the next version."""

from collections.abc import Iterable, Mapping
from typing import Any

# Present by former name: options of a run with their section, flags of predict.py without.
RENAMED = {
    "task.least_score": "task.score_threshold",
    "head.most": "head.max_detections",
    "data.least_size": "data.min_size",
    "data.most_size": "data.max_size",
    "data.most_digits": "data.max_digits",
    "least_score": "score_threshold",
    "fit": "letterbox",
}


def present_names(options: Mapping[str, Any], known: Iterable[str], section: str = "") -> dict[str, Any]:
    """Return options under their present names; one of `known`, an owner's own part's say, is no former name.

    Args:
        options: values by name.
        known: the names that are taken now.
        section: where the names of both are without it, such as task or head.
    """
    known = set(known)
    prefix = f"{section}." if section else ""

    def present(name: str) -> str:
        new = RENAMED.get(f"{prefix}{name}", "").removeprefix(prefix)
        return new if new in known and name not in known else name

    return {present(name): value for name, value in options.items()}
