"""Every option of a run: its source, type, default and help text.

Options are read from the signatures and docstrings of the parts they configure, so that each is written down once:
`--backbone.widths` is the parameter `widths` of the chosen backbone. Options of Lightning's Trainer have no prefix;
trainer_flags.py records them, so that --help need not import Lightning.
"""

import contextlib
import dataclasses
import inspect
import shutil
import textwrap
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import docstring_parser

from engine.config.loggers import CLASSES, NONE
from engine.config.trainer_flags import FLAGS
from engine.config.yaml_files import SECTIONS
from engine.contract.errors import UserError
from engine.contract.parts import backbone_options, find_data, parts
from engine.contract.registry import closest, look_up, options_of
from engine.terminal import script_command

# Parameters that a run fills in itself. Giving one the same value is harmless, another value is an error.
DERIVED: dict[str, str] = {
    "data.seed": "--seed",
    "data.task": "--task",
    "backbone.in_channels": "the data",
    "backbone.image_size": "the data",
    "head.num_outputs": "the data",
    "task.class_names": "the data",
    "task.in_channels": "the data",
    "task.image_size": "the data",
    "task.mean": "the data",
    "task.std": "the data",
    "task.upscale": "the data",
    "head.channels": "the backbone",
    "head.strides": "the backbone",
}


def derived() -> dict[str, str]:
    """Return DERIVED, together with the fields of every task's input."""
    inputs = [task.input_type for task in parts().tasks.values() if hasattr(task, "input_type")]
    return DERIVED | {f"task.{field}": "the data" for each in inputs for field in each.fields()}


# Parameters that are not options at all.
INTERNAL = {"task.backbone", "task.head", "task.optim", "data.path", "data.known", "backbone.name", "optim.groups"}
INTERNAL |= {"logger.log_model", "logger.checkpoint_path_prefix"}  # these need Lightning's ModelCheckpoint

# Trainer parameters that a run sets itself, and what to use instead.
OWNED = {
    "logger": "loggers are chosen with --wandb and --logger NAME",
    "logger.log_model": "best.ckpt is uploaded with --upload_best",
    "callbacks": "callbacks are Python objects: add yours to the project's callbacks.py",
    "plugins": "plugins are Python objects: write a script of your own",
    "default_root_dir": "a run's folder is checkpoints/NAME, chosen with --name",
    "enable_checkpointing": "checkpoints are always written, to checkpoints/NAME",
    "barebones": "a run always records what it did; --fast_dev_run keeps nothing",
    "use_distributed_sampler": "the data modules split their images among processes themselves",
    "reload_dataloaders_every_n_epochs": "the order of an epoch follows from --seed",
    "enable_autolog_hparams": "the configuration is always recorded",
    "model_registry": "models are kept in checkpoints/NAME",
    "inference_mode": "evaluation always runs without gradients",
}
HELP_TOPICS = ("run", *SECTIONS, "trainer", "all")
FREQUENT = (  # shown on the short help page
    *("max_epochs", "data.batch_size", "optim.lr", "precision", "accelerator", "devices"),
    *("name", "seed", "ckpt_path", "init_from", "wandb", "config"),
)
# The most used Trainer flags, in our words.
TRAINER_HELP = {
    "max_epochs": "epochs to train for",
    "accelerator": "cpu, gpu, mps, or auto for the best available",
    "devices": "how many GPUs or processes, or which",
    "precision": "bf16-mixed, 16-mixed, 32-true, ...; by default bf16-mixed if the hardware supports it",
    "gradient_clip_val": "largest gradient norm",
    "accumulate_grad_batches": "batches per optimiser step",
    "strategy": "how several processes work together: ddp, fsdp, ...",
    "num_nodes": "machines",
    "limit_train_batches": "batches per epoch, or their share, with other images each epoch; see --data.train_size",
    "log_every_n_steps": "steps between records of loss and learning rate",
    "fast_dev_run": "rehearse with 1 (or N) batches of each split, and keep nothing",
}


@dataclass(frozen=True)
class Option:
    """One option: its dotted key, type, default, and a line of help."""

    key: str
    annotation: Any
    default: Any
    help: str


RUN_OPTIONS = [
    Option("name", str | None, None, "name of the run and of its folder in checkpoints/"),
    Option("seed", int, 0, "seed of weights, order, augmentation and dropout"),
    Option("wandb", Literal["auto", "online", "offline", "disabled"], "auto", "tracking by Weights & Biases"),
    Option("ckpt_path", str | None, None, "resume: 'last' for the newest run, or a last.ckpt"),
    Option("resume", Literal["auto"] | None, None, "auto: resume run --name if it has saved anything, else start it"),
    Option("wandb_project", str | None, None, "project of the tracked run; by default WANDB_PROJECT, or this one"),
    Option("wandb_entity", str | None, None, "user or team of the tracked run; by default WANDB_ENTITY"),
    Option("wandb_group", str | None, None, "group of the tracked run; by default WANDB_RUN_GROUP"),
    Option("wandb_tags", list[str] | None, None, "tags of the tracked run; by default WANDB_TAGS"),
    Option("logger.name", str, NONE, f"another logger: {', '.join(CLASSES)}, or a class by its dotted name"),
    Option("upload_best", bool, False, "upload best.ckpt to the tracked runs when it has been tested"),
    Option("save_every_steps", int | None, None, "also save last.ckpt every so many steps"),
    Option("save_every_minutes", float | None, None, "also save last.ckpt every so many minutes"),
    Option("keep_every", int | None, None, "also keep a resumable epoch-N.ckpt every so many epochs"),
    Option("early_stop", int | None, None, "stop after so many validations in a row without improvement"),
    Option(
        "monitor", str | None, None, "metric that selects the best weights, such as val/loss; by default the task's"
    ),
    Option("timeout_minutes", float, 10.0, "how long processes wait for one that hangs"),
    Option("compile", bool, False, "torch.compile the network: worth its minute of compiling in long runs on a GPU"),
    Option("init_from", str | None, None, "start from every matching weight of this checkpoint"),
]
CONFIG_OPTION = Option(
    "config", str, None, "YAML files of options; later files override earlier ones, flags override both"
)
PRINT_OPTION = Option("print_config", bool, None, "print the whole resolved configuration and stop")


def default_task() -> str:
    """Return the project's first task, which is used if the command line names none."""
    return next(iter(parts().tasks))


def named(section: str) -> Mapping[str, Callable[..., Any]]:
    """Return a section's parts by name; a backbone may also come from timm, and data from a folder."""
    own = parts()
    known: dict[str, Mapping[str, Callable[..., Any]]]
    known = {"task": own.tasks, "data": own.data, "backbone": own.backbones, "head": own.heads, "optim": own.optimisers}
    return known[section]


def builder_of(section: str, name: str) -> Callable[..., Any]:
    """Return the class or function behind a section's name.

    Raises:
        UserError: unknown name.
    """
    if section == "backbone":
        return parts().find_backbone(name)
    if section == "data":
        return find_data(name)
    return look_up(section, name, named(section))


def section_options(section: str, name: str) -> list[Option]:
    """Return the options of one section, given the name chosen for it."""
    found = from_signature(builder_of(section, name), f"{section}.")
    if section == "backbone":
        found += from_signature(backbone_options, "backbone.")
    if section == "optim":
        found += from_signature(parts().training_options, "optim.")
    return [option for option in found if option.key not in INTERNAL]


def trainer_options() -> list[Option]:
    """Return the flags of Lightning's Trainer that a run leaves to the user."""
    options = []
    for option in (Option(*flag) for flag in FLAGS):
        default = {"log_every_n_steps": 50, "enable_model_summary": False}.get(option.key, option.default)
        annotation = str | None if option.key == "precision" else option.annotation
        options.append(Option(option.key, annotation, default, TRAINER_HELP.get(option.key, option.help)))
    return options


def from_signature(builder: Callable[..., Any], prefix: str) -> list[Option]:
    """Return an option for each parameter of a class or function; its key is `prefix` and the parameter's name."""
    documented = builder.func if hasattr(builder, "func") else builder  # a partial's docstring is its function's
    texts, hints = {}, {}
    for source in reversed(documented.__mro__) if inspect.isclass(documented) else [documented]:
        for text in (source, getattr(source, "__init__", None)):
            parsed = docstring_parser.parse(inspect.getdoc(text) or "")
            texts.update({p.arg_name: _first_sentence(p.description or "") for p in parsed.params})
        with contextlib.suppress(NameError):  # imported for type checkers only, so values are not checked
            hints.update(typing.get_type_hints(source.__init__ if inspect.isclass(source) else source))
    found, unset = [], derived().keys()
    for name, parameter in options_of(builder).items():
        default = None if parameter.default is inspect.Parameter.empty else parameter.default
        annotation = hints.get(name, Any)
        if parameter.default is inspect.Parameter.empty or f"{prefix}{name}" in unset:
            annotation, default = annotation | None, None
        found.append(Option(f"{prefix}{name}", annotation, default, texts.get(name, "")))
    return found


def _first_sentence(text: str) -> str:
    text = " ".join(text.replace("``", "").split())
    return text.split(". ")[0].split("Default:")[0].rstrip(". ")


def type_name(annotation: Any) -> str:
    """Return a type as the help page shows it: INT, a|b|c, [INT, ...]."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return "|".join(str(a) for a in arguments)
    if origin is typing.Union or type(annotation).__name__ == "UnionType":
        return "|".join(dict.fromkeys(type_name(a) for a in arguments if a is not type(None)))
    if origin is dict:
        return "MAPPING"
    if origin is not None:
        return f"[{type_name(arguments[0])}, ...]"
    return {bool: "true|false", str: "TEXT", int: "INT", float: "NUMBER"}.get(annotation, "VALUE")


def help_page(names: Mapping[str, str], defaults: Mapping[str, Any], topic: str) -> str:
    """Return the help page for the chosen names: one of HELP_TOPICS, or the most used options if `topic` is ''.

    Raises:
        UserError: unknown topic or name.
    """
    if topic not in ("", *HELP_TOPICS):
        raise UserError(f"--help {topic}: expected one of {', '.join(HELP_TOPICS)}{closest(topic, HELP_TOPICS)}")
    by_key = {option.key: option for option in [*trainer_options(), *RUN_OPTIONS, CONFIG_OPTION]}
    pages: dict[str, list[str]] = {"run": ["run", *_rows([*RUN_OPTIONS, CONFIG_OPTION, PRINT_OPTION])]}
    unset = derived().keys()
    for section in SECTIONS:
        options = [
            dataclasses.replace(option, default=defaults.get(option.key, option.default))
            for option in section_options(section, names[section])
            if option.key not in unset
        ]
        by_key |= {option.key: option for option in options}
        pages[section] = [f"--{section} {names[section]}   ({_choices(section)})", *_rows(options)]
    by_key["max_epochs"] = dataclasses.replace(by_key["max_epochs"], default=defaults["max_epochs"])
    trainer = [by_key[option.key] for option in trainer_options()]
    used = [option for key in TRAINER_HELP for option in trainer if option.key == key]
    rest = [option for option in trainer if option.key not in TRAINER_HELP]
    pages["trainer"] = [
        "Lightning's Trainer, most used",
        *_rows(used),
        "",
        "Lightning's Trainer, the rest",
        *_rows(rest),
    ]
    if topic == "all":
        return "\n\n".join("\n".join(page) for page in pages.values())
    if topic:
        return "\n".join(pages[topic])
    sections = [line for name in SECTIONS for line in _row(f"  --{name} {names[name]}", _choices(name), 26)]
    frequent = [by_key[key] for key in FREQUENT if key in by_key]
    return "\n".join(
        [
            f"usage: {script_command('train')} [--FLAG VALUE ...]",
            "",
            "Train, test and record a model; with no flag, a small CNN on MNIST.",
            *sections,
            *_rows(frequent, column=26, types=False),
            f"More: --help {'|'.join(HELP_TOPICS)}",
        ]
    )


def _choices(section: str) -> str:
    if section == "backbone":
        return f"{', '.join(parts().backbones)}, or any timm model"
    if section == "data":
        return f"{', '.join(parts().data)}, or a folder's path"
    return ", ".join(named(section))


def _rows(options: Iterable[Option], column: int = 31, types: bool = True) -> list[str]:
    rows = []
    for option in options:
        flag = f"  --{option.key.removesuffix('.name')}" + (f" {type_name(option.annotation)}" if types else "")
        text = option.help + ("" if option.default is None else f" [{_shown(option.default)}]")
        rows += _row(flag, text, column)
    return rows


def _row(flag: str, text: str, column: int) -> list[str]:
    """Return a flag and its help, which begins at the column, as lines that fit the terminal."""
    width = min(max(shutil.get_terminal_size((80, 24)).columns, 60), 110)
    body = textwrap.wrap(text, width - column) or [""]
    first = flag.ljust(column) + body.pop(0) if len(flag) < column else flag
    return [first, *(" " * column + line for line in body)]


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return ",".join(map(str, default)) if isinstance(default, (list, tuple)) else str(default)
