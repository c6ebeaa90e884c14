"""Renamed options: former names are accepted until the next version."""

from collections.abc import Iterable, Mapping
from typing import Any

# From former to present name: options of a run with their section, flags of predict.py without.
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
    """Return options under their present names; a name in `known`, for example of an owner's part, is kept.

    Args:
        options: values by name.
        known: the present names.
        section: the section, such as task or head, if names are given without it.
    """
    known = set(known)
    prefix = f"{section}." if section else ""

    def present(name: str) -> str:
        new = RENAMED.get(f"{prefix}{name}", "").removeprefix(prefix)
        return new if new in known and name not in known else name

    return {present(name): value for name, value in options.items()}
