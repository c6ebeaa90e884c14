"""Your own callbacks, for every run of scripts/train.py."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.callbacks import Callback


def own(config: Mapping[str, Any]) -> list[Callback]:
    """Return your callbacks; the Trainer gets them after the engine's.

    Args:
        config: the run's configuration, as `--print_config` shows it: `config["max_epochs"]`, `config["data"]["name"]`.
    """
    return []
