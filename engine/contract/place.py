"""Where runs and fetched data are kept."""

import os
from pathlib import Path


def home() -> Path:
    """Return the folder that checkpoints/ and data/ are in: PROJECT_HOME, or the current one."""
    return Path(os.environ.get("PROJECT_HOME", "")).expanduser()
