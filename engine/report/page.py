"""The page of a run, report.html: one self-contained file, made from the run's folder."""

import base64
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from engine.config.config import resolve
from engine.config.defaults import read_defaults
from engine.config.yaml_files import SECTIONS, Source, flatten, plain, read_config_file
from engine.contract.parts import parts
from engine.contract.registry import printable
from engine.contract.renamed import present_names
from engine.errors import UsageError
from engine.record.classes import amount, by_class, share
from engine.record.redact import redact
from engine.record.summary_file import read_figures, read_summary
from engine.report import figures
from engine.report.curves import Curve, train_loss, verdict
from engine.resume.checkpoint_file import write_text
from engine.terminal import script_command
from engine.training.assemble import best_precision
from engine.training.progress import is_of_a_class, percent_or_number

NAME = "report.html"
# A page loads and runs nothing, whatever text it contains. MAKER distinguishes our pages from other files.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
MAKER = '<meta name="generator" content="project, {template}">'
MANY_ROWS = 40  # longer tables are folded


def write_page(folder: Path, curves: Mapping[str, Curve]) -> Path:
    """Write a run's report.html from its folder's files, and return its path.

    Raises:
        OSError: the folder cannot be written.
    """
    path = folder / NAME
    write_text(render("page.html", **_content(folder, curves)), path)
    return path


def render(template: str, **content: Any) -> str:
    """Fill in one of the templates beside this file; all text is escaped."""
    head = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n{MAKER.format(template=template)}'
    return _environment().get_template(template).render(content, head=markupsafe.Markup(head))


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {"amount": amount, "share": share}
    return environment


def _shown(value: Any) -> Any:
    """Return a value as shown on the page: text without control characters, which could reverse its direction."""
    if type(value) is str:  # a subclass is our own markup, which keeps its line breaks
        return printable(value)
    return "-" if value is None else value


def embedded(content: bytes) -> str:
    """Return a PNG as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _content(folder: Path, curves: Mapping[str, Curve]) -> dict[str, Any]:
    summary, numbers = read_summary(folder), read_figures(folder)
    settings = read_settings(folder)
    metrics = summary.get("metrics") or {}
    best = summary.get("best") or {}
    return {
        "name": summary.get("name") or folder.absolute().name,
        "folder": str(folder),
        "predict": script_command("predict"),
        "summary": summary,
        "settings": settings,
        "best": _best(best),
        "has_weights": (folder / "best.ckpt").is_file(),
        "cards": [(name, shown(name, value)) for name, value in metrics.items() if _is_of_the_test(name)],
        "costs": costs(summary),
        "verdict": verdict(train_loss(curves), curves.get("val/loss", [])),
        "pictures": {name: embedded(path.read_bytes()) for name, path in figures.pictures(folder).items()},
        "numbers": {"measured": "", "classes": [], "confused": [], "mistakes": [], **numbers},
        "by_class": by_class(metrics, numbers.get("classes", [])),
        "defaults": defaults_of(settings),
        "other": {
            "environment": {**(summary.get("versions") or {}), **(summary.get("hardware") or {})},
            "git": summary.get("git") or {},
        },
        "many": MANY_ROWS,
    }


def _best(best: Mapping[str, Any]) -> dict[str, Any]:
    value, metric = best.get("value"), str(best.get("metric"))
    return {"metric": metric, "value": None if value is None else shown(metric, value), "epoch": best.get("epoch")}


def _is_of_the_test(name: str) -> bool:
    return name.startswith("test/") and not is_of_a_class(name)


def shown(name: str, value: float | None) -> str:
    """Format a metric for display; '-' for None."""
    return "-" if value is None else percent_or_number(name, value)


def costs(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the rows on a run's costs: time, speed, memory, ...; unknown ones are left out."""
    seconds = summary.get("seconds") or {}
    rows = [(f"time: {name}", f"{amount(value, 1)} s") for name, value in seconds.items()]
    for key, name, unit in (
        ("images_per_second", "training speed", "images/s"),
        ("peak_memory_mb", "most memory", "MiB"),
        ("parameters", "parameters", ""),
        ("epochs", "epochs", ""),
        ("global_step", "optimiser steps", ""),
    ):
        if summary.get(key) is not None:
            rows.append((name, f"{amount(summary[key])} {unit}".strip()))
    return rows


def read_settings(folder: Path) -> dict[str, Any]:
    """Return a run's configuration by dotted option, without secrets; {} if it has none.

    Raises:
        UsageError: the file cannot be read.
    """
    path = folder / "config.yaml"
    settings = redact(read_config_file(str(path)).values) if path.exists() else {}
    return present_names(settings, defaults_of(settings))


def defaults_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the default of each option for the names in a configuration; {} if a name is unknown.

    The defaults of the names themselves are the task's.
    """
    names = {f"{section}.name": settings.get(f"{section}.name") for section in SECTIONS}
    try:
        config, _ = resolve([Source("the run", names)])
        usual = read_defaults(parts().tasks[str(names["task.name"])]).values
    except (UsageError, KeyError):
        return {}
    defaults = flatten(plain(config))
    defaults |= {key: usual[key] for key in names if key in usual}
    defaults["precision"] = defaults.get("precision") or best_precision(str(settings.get("accelerator", "auto")))
    return defaults
