"""From a command line to one resolved configuration: flags over files over the resumed run over defaults.

The configuration is a plain nested mapping, as in YAML: run and Trainer options at the top, and one section each for
task, data, backbone, head and optim, whose `name` chooses the part.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engine.config.defaults import read_defaults
from engine.config.loggers import NONE, check_logger_options, find_logger
from engine.config.options import (
    INTERNAL,
    OWNED,
    RUN_OPTIONS,
    Option,
    builder_of,
    default_task,
    derived,
    from_signature,
    help_page,
    section_options,
    trainer_options,
    type_name,
)
from engine.config.yaml_files import NAMED, SECTIONS, Source, flatten, nest, plain, readings
from engine.contract.errors import UserError
from engine.contract.parts import parts
from engine.contract.registry import as_type, brief, closest, look_up
from engine.contract.renamed import RENAMED, present_names
from engine.errors import UsageError

# Flags of other programs, and their names here.
FOREIGN_FLAGS = {
    **dict.fromkeys(("model", "arch", "net", "network"), "--backbone"),
    **dict.fromkeys(("epochs", "num_epochs", "n_epochs"), "--max_epochs"),
    **dict.fromkeys(("gpu", "gpus", "device", "n_gpu", "num_gpus"), "--accelerator gpu, and --devices for how many"),
    **dict.fromkeys(("learning_rate", "lr0", "base_lr"), "--optim.lr"),
    **dict.fromkeys(("optimizer", "optimiser", "opt"), "--optim"),
    **dict.fromkeys(("dataset", "data_dir", "data_path", "datadir"), "--data"),
    **dict.fromkeys(("workers", "n_workers"), "--data.num_workers"),
    **dict.fromkeys(("bs", "batch", "train_batch_size"), "--data.batch_size"),
    **dict.fromkeys(("imgsz", "img_size", "size", "resolution"), "--data.image_size"),
    **dict.fromkeys(("resume_from", "checkpoint", "ckpt", "load"), "--ckpt_path"),
    **dict.fromkeys(("weights", "finetune", "pretrained_weights"), "--init_from"),
    **dict.fromkeys(("amp", "fp16", "bf16", "half"), "--precision, such as bf16-mixed"),
    **dict.fromkeys(("output", "output_dir", "save_dir", "exp_name", "experiment", "run_name"), "--name"),
    **dict.fromkeys(("clip_grad", "grad_clip", "max_grad_norm"), "--gradient_clip_val"),
    **dict.fromkeys(("scheduler", "lr_scheduler", "sched"), "--optim.schedule"),
    **dict.fromkeys(("nodes", "nnodes"), "--num_nodes"),
    "ema": "--optim.ema",
}
NOT_SAVED = ("name", "ckpt_path", "resume", "init_from")  # they concern one run and its start, not the training


@dataclass
class CommandLine:
    """A command line split into flags and arguments; values are still text, because option types are unknown here."""

    flags: dict[str, Any] = field(default_factory=dict)
    config_files: list[str] = field(default_factory=list)
    positional: list[str] = field(default_factory=list)
    wants_help: str | None = None  # the topic asked for, '' for the short page, None for no help
    print_config: bool = False


def read_command_line(argv: Sequence[str], positional: bool = False) -> CommandLine:
    """Split a command line. `--max-epochs 3`, `--max_epochs 3` and `--max_epochs=3` are the same.

    A flag without a value means true. `--backbone cnn` is short for `--backbone.name cnn`. Positional arguments are
    collected if `positional`, else an error.

    Raises:
        UsageError: a positional argument where none is allowed, or a flag without the value it needs.
    """
    line = CommandLine()
    tokens = list(argv)
    while tokens:
        token = tokens.pop(0)
        if token == "-h":
            token = "--help"
        if positional and not token.startswith("-"):
            line.positional.append(token)
            continue
        if not token.startswith("--") or token == "--":
            raise UsageError(f"unexpected argument {token!r}: every option is a flag, such as --max_epochs 3")
        key, equals, value = token[2:].partition("=")
        key = key.replace("-", "_")
        values = [value] if equals else []
        while tokens and not equals and not tokens[0].startswith("--") and (not values or key == "config"):
            values.append(tokens.pop(0))
        if key == "help":
            line.wants_help = values[0] if values else ""
        elif key == "config":
            if not values:
                raise UsageError("--config needs the path of a YAML file")
            line.config_files += values
        elif key == "print_config":
            if values not in ([], ["true"], ["false"]):
                raise UsageError(f"--print_config is true or false, got {values[0]!r}")
            line.print_config = values != ["false"]
        else:
            line.flags[f"{key}.name" if key in NAMED else key] = values[0] if values else True
    return line


def recorded(config: Mapping[str, Any], path: Any) -> dict[str, Any]:
    """Return the options that a checkpoint at `path` records, by dotted key.

    Relative data paths start from the folder that holds the run's checkpoints/NAME, where the run was started. If
    nothing exists there, they start from the current folder.

    Raises:
        UsageError: `config` is not a mapping, or one of its sections has no name.
    """
    from engine.training.run_folder import folder_around  # imports torch, which --help avoids

    if not isinstance(config, Mapping):
        raise UsageError(f"{path}: its configuration is {brief(config)}, expected a mapping")
    for section in SECTIONS:
        part = config.get(section)
        if part is not None and not (isinstance(part, Mapping) and isinstance(part.get("name"), str)):
            raise UsageError(f"{path}: section {section} of its configuration has no name: {brief(part)}")
    flat = flatten(config)
    folder = folder_around(path)
    if folder is not None and folder.is_absolute():
        for key in ("data.name", "data.root", "data.labels"):
            value = str(flat.get(key) or "~")
            if (
                value not in parts().data
                and not value.startswith("~")
                and (there := folder.parent.parent / value).exists()
            ):
                flat[key] = str(there)
    return flat


def resolve(sources: Sequence[Source]) -> tuple[dict[str, Any], list[str]]:
    """Merge sources, each overriding those before it, over the defaults; return the configuration and remarks.

    If a later source names another backbone, the options given earlier for the old one are dropped, with a remark.
    The same holds for the other sections.

    Raises:
        UsageError: an unknown option or name, or a value of the wrong type.
    """
    names, defaults = _defaults(sources)
    sources, remarks = _drop_stale([defaults, *sources])
    for section, name in names.items():
        try:
            builder_of(section, name)
        except UserError as error:
            label = [source.label for source in sources if f"{section}.name" in source.values][-1]
            raise UsageError(f"{label}: {error}") from error
    options = {option.key: option for option in _all_options(names)}
    logger, logger_options = _logger(sources)
    options |= {option.key: option for option in logger_options}
    merged: dict[str, Any] = {}
    for source in sources:
        values, renamed = _present_names(source, options)
        remarks += renamed
        for key, value in values.items():
            if key not in options:
                chosen = names if logger is None else {**names, "logger": logger.__name__}
                raise UsageError(_unknown(key, source.label, options, chosen))
            merged[key] = _parse(options[key], value, source.label)
    _check_logger(logger, merged)
    of_logger = {option.key for option in logger_options if option.key not in merged}  # its class has the defaults
    values = {key: merged.get(key, plain(option.default)) for key, option in options.items() if key not in of_logger}
    unset = derived().keys()
    return nest({k: v for k, v in values.items() if v is not None or k not in unset}), remarks


def _defaults(sources: Sequence[Source]) -> tuple[dict[str, str], Source]:
    """Return the name chosen for each section, and those of the task's defaults that apply to these names.

    A section's defaults apply only to the part that the defaults file names, and the head's only with the backbone
    that it names, too. Any other part starts from the defaults of its constructor.

    Raises:
        UsageError: there is no such task, or its defaults file is invalid.
    """
    given = {key: value for source in sources for key, value in source.values.items()}
    task = str(given.get("task.name", default_task()))
    try:
        defaults = read_defaults(look_up("task", task, parts().tasks))
    except UserError as error:
        raise UsageError(str(error)) from error
    values = {**defaults.with_data(given.get("data.name")), "task.name": task}
    names = {section: str(given.get(f"{section}.name", values[f"{section}.name"])) for section in SECTIONS}
    held = {section for section, name in names.items() if name == values[f"{section}.name"]}
    if "backbone" not in held:
        held.discard("head")
    holding = {k: v for k, v in values.items() if k.partition(".")[0] in held or k.endswith(".name") or "." not in k}
    return names, Source(defaults.file, holding, is_quiet=True)


def _drop_stale(sources: Sequence[Source]) -> tuple[list[Source], list[str]]:
    """Drop options of parts that a later source replaces; return the sources left, and remarks on what was dropped."""
    kept: list[Source] = []
    remarks: list[str] = []
    names: dict[str, str] = {}
    for source in sources:
        for section in NAMED:
            name = source.values.get(f"{section}.name", names.get(section))
            if name is None or name == names.get(section):
                continue
            for earlier in kept:
                stale = [k for k in earlier.values if k.startswith(f"{section}.")]
                lost = [k for k in stale if not k.endswith(".name")]
                if lost and not earlier.is_quiet:
                    remarks.append(f"{', '.join(lost)} of {earlier.label} ignored: {section} is now {name}")
                earlier.values = {k: v for k, v in earlier.values.items() if k not in stale}
            names[section] = name
        kept.append(replace(source, values=dict(source.values)))
    return kept, remarks


def _present_names(source: Source, options: Mapping[str, Option]) -> tuple[dict[str, Any], list[str]]:
    """Return a source's values under the options' present names, and a remark for each former name.

    Raises:
        UsageError: an option is given under both names.
    """
    values = present_names(source.values, options)
    dashes = "--" if source.label == "command line" else ""
    pairs = [(key, RENAMED[key]) for key in source.values if key not in values]
    for former, present in pairs:
        if present in source.values:
            raise UsageError(f"{source.label}: {dashes}{former} is now {dashes}{present}: give only the new one")
    remarks = [f"{dashes}{former} is now {dashes}{present}" for former, present in pairs]
    return values, [] if source.is_quiet else remarks


def _all_options(names: Mapping[str, str]) -> Iterator[Option]:
    for section in SECTIONS:
        yield Option(f"{section}.name", str, names[section], "")
        yield from section_options(section, names[section])
    yield from trainer_options()
    yield from RUN_OPTIONS


def _logger(sources: Sequence[Source]) -> tuple[type | None, list[Option]]:
    """Return the class of the logger that the sources name, if any, and its options.

    Raises:
        UsageError: there is no such logger.
    """
    source = next((source for source in reversed(sources) if "logger.name" in source.values), None)
    if source is None or source.values["logger.name"] == NONE:
        return None, []
    try:
        kind = find_logger(str(source.values["logger.name"]), from_file=source.label != "command line")
    except UserError as error:
        raise UsageError(f"{source.label}: {error}") from error
    hidden = INTERNAL | {"logger.name"}  # its own `name` is the run's
    return kind, [option for option in from_signature(kind, "logger.") if option.key not in hidden]


def _check_logger(kind: type | None, values: Mapping[str, Any]) -> None:
    if kind is not None:
        given = [key.removeprefix("logger.") for key in values if key.startswith("logger.")]
        try:
            check_logger_options(str(values["logger.name"]), kind, given)
        except UserError as error:
            raise UsageError(str(error)) from error


def _parse(option: Option, value: Any, label: str) -> Any:
    given = value
    expected = type_name(option.annotation)
    is_list = expected.startswith("[") or ("[" in expected and "," in str(value))
    if isinstance(value, str) and is_list and "TEXT" not in expected and "[" not in value:
        value = f"[{value}]"  # 16,32 means [16,32], which must be quoted in some shells
    elif expected == "[INT, ...]" and isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    elif isinstance(value, str) and expected == "[TEXT, ...]" and not value.startswith("["):
        value = value.split(",")
    try:
        parsed = as_type(value, option.annotation, readings=readings)
    except ValueError as error:
        hint = "; to resume from a file, give --ckpt_path" if option.key == "resume" else ""
        if expected == "[TEXT, ...]":
            hint = "; names such as no, yes, null and 12 need quotes"
        found = "nothing" if given is None else brief(given)
        raise UsageError(f"{label}: {option.key} is {expected}, got {found}{hint}") from error
    if isinstance(parsed, float) and not math.isfinite(parsed):
        raise UsageError(f"{label}: {option.key} is a finite number, got {brief(given)}")
    return parsed


def _unknown(key: str, label: str, options: Mapping[str, Option], names: Mapping[str, str]) -> str:
    flag = f"--{key}" if label == "command line" else f"key {key}"
    if key in OWNED:
        return f"{label}: {flag} is not an option here: {OWNED[key]}"
    section, _, option = key.partition(".")
    unset = derived().keys() | INTERNAL
    known = [k for k in options if k not in unset]
    if not option and key in FOREIGN_FLAGS:
        return f"{label}: unknown option {flag}; here it is {FOREIGN_FLAGS[key]}"
    same = [k for k in known if k.endswith(f".{RENAMED.get(key, key)}")]
    if same:
        return f"{label}: unknown option {flag}; here it is {' or '.join(f'--{k}' for k in same)}"
    if section == "logger" and section not in names:
        return f"{label}: {flag} needs a logger to be set: give --logger NAME as well"
    near = closest(key, known).replace("did you mean ", f"did you mean {'--' if flag.startswith('--') else ''}")
    if option and section in names:
        valid = ", ".join(k.partition(".")[2] for k in known if k.startswith(f"{section}.") and not k.endswith(".name"))
        return f"{label}: unknown option {flag} for {section} {names[section]}{near or f'; it has {valid}'}"
    return f"{label}: unknown option {flag}{near or '; --help lists them'}"


def help_for(line: CommandLine) -> str:
    """Return the help page for the names that a command line chooses.

    Raises:
        UsageError: unknown name or help topic.
    """
    names, defaults = _defaults([Source("command line", line.flags)])
    try:
        return help_page(names, defaults.values, line.wants_help or "")
    except ValueError as error:
        raise UsageError(str(error)) from error


def check_derived(config: dict[str, Any], actual: Mapping[str, Any]) -> None:
    """Remove derived options from `config`, and refuse any that was given another value than its actual one.

    Args:
        config: a resolved configuration.
        actual: the value of each derived option that can be given, by dotted key.

    Raises:
        UsageError: a given value differs from the actual one.
    """
    for key, where in derived().items():
        section, _, option = key.partition(".")
        given = config[section].pop(option, None)
        if given is not None and key in actual and plain(given) != plain(actual[key]):
            raise UsageError(f"{key} {given}: it is {plain(actual[key])}, which follows from {where}; leave it out")
