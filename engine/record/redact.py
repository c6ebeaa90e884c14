"""Leaving secrets out of what is recorded."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

SECRET = re.compile(r"token|key|secret|password|credential", re.IGNORECASE)


def redact(value: Any, name: str = "") -> Any:
    """Return plain values, with every value whose name suggests a secret replaced by ***."""
    if isinstance(value, Mapping):
        return {k: redact(v, str(k)) for k, v in value.items()}
    return "***" if SECRET.search(name) and value not in (None, "") else value


def redacted_command(arguments: list[str]) -> str:
    """Return a command line as typed in a shell, with the values of secret-looking flags replaced by ***."""
    words = []
    hide = False
    for word in arguments:
        flag, equals, _ = word.partition("=")
        secret = flag.startswith("--") and bool(SECRET.search(flag))
        words.append("***" if hide and not word.startswith("--") else f"{flag}=***" if secret and equals else word)
        hide = secret and not equals
    return shlex.join(words)
