"""Cells of the tables that predict.py writes."""

from pathlib import Path
from typing import Any

FORMULAS = tuple("=+-@\t\r\n")  # characters at which a spreadsheet begins a formula


def harmless(cell: Any) -> Any:
    """Put a quote before text that a spreadsheet would run as a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULAS) else cell


def harmless_back(cell: str) -> str:
    """Undo `harmless`."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULAS) else cell


def text_of(path: Path) -> str:
    """Return a path as text that UTF-8 can encode; undecodable bytes of its name are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()
