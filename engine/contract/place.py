"""The folder of runs and downloaded data."""

import os
from pathlib import Path


def home() -> Path:
    """Return the folder that holds checkpoints/ and data/: PROJECT_HOME, or the current folder."""
    return Path(os.environ.get("PROJECT_HOME", "")).expanduser()
