"""Records the installed Trainer's options in trainer_flags.py, so that --help need not import Lightning.

python -m engine.config.trainer_options      # after a change of Lightning's version; a test fails when it is due
"""

import inspect
import typing
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal

from engine.config.options import OWNED, Option, from_signature

RECORD = Path(__file__).with_name("trainer_flags.py")
HEAD = '''"""Flags of Lightning's Trainer: name, type, default, help. Written by engine/config/trainer_options.py."""
# fmt: off

from typing import Any, Literal

FLAGS: list[tuple[str, Any, Any, str]] = [
'''


def installed() -> list[Option]:
    """Return the options of the installed Trainer that a run leaves to the user, in Lightning's own words."""
    from lightning.pytorch import Trainer

    return [
        Option(option.key, _plain(option.annotation), option.default, option.help)
        for option in from_signature(Trainer, "")
        if option.key not in OWNED
    ]


def _plain(annotation: Any) -> Any:
    """Strip Python classes from a Trainer parameter's type: a command line only gives plain values."""
    if typing.get_origin(annotation) not in (typing.Union, UnionType):
        return annotation
    kept = [
        kind
        for kind in typing.get_args(annotation)
        if not inspect.isclass(kind) or typing.get_origin(kind) or kind in (str, int, float, bool, NoneType)
    ]
    return typing.Union[tuple(kept)]  # noqa: UP007, their number is known only now


def _code(annotation: Any) -> str:
    """Return a type as Python source."""
    inner = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, UnionType):
        return " | ".join(map(_code, inner))
    if typing.get_origin(annotation) is Literal:
        return f"Literal[{', '.join(map(repr, inner))}]"
    if annotation is NoneType:
        return "None"
    return str(annotation) if inner else str(annotation.__name__)


def main() -> None:
    """Rewrite trainer_flags.py."""
    rows = [f"    ({o.key!r}, {_code(o.annotation)}, {o.default!r}, {o.help!r}),\n" for o in installed()]
    RECORD.write_text(HEAD + "".join(rows) + "]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
