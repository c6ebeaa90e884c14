"""Options in YAML files, and their two forms: nested as in a file, or flat with dotted keys such as backbone.widths."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

import yaml

from engine.contract.errors import UserError
from engine.contract.registry import brief
from engine.errors import UsageError, one_line
from engine.inputs.reading import MIB, read_text

SECTIONS = ("task", "data", "backbone", "head", "optim")
NAMED = (*SECTIONS, "logger")  # `--logger mlflow` is short for `--logger.name mlflow`, as for sections
LARGEST = MIB  # of a configuration file, in bytes


@dataclass
class Source:
    """Options from one place, by dotted key, and a label that names this place in errors."""

    label: str
    values: dict[str, Any] = field(default_factory=dict)
    is_quiet: bool = False  # no remarks on defaults and checkpoints, which users do not edit


class _Refused(yaml.constructor.ConstructorError):
    """A YAML file holds something unsupported or invalid."""

    def __init__(self, what: str, where: yaml.Mark) -> None:
        super().__init__(None, None, what, where)


class _Loader(yaml.SafeLoader):
    """YAML of plain values: no Python objects, duplicate keys or aliases."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise _Refused("merge keys (<<) are not supported", key_node.start_mark)
            key = self.construct_object(key_node)
            if key in seen:
                raise _Refused(f"key {brief(key)} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):  # a few lines of aliases can expand beyond any memory
            raise _Refused("aliases (*NAME) are not supported: write the value out", self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, AttributeError) as error:  # raised by PyYAML for 2024-13-45, or !!timestamp abc
            if not isinstance(node, yaml.ScalarNode):
                raise
            raise _Refused(f"{brief(node.value)} is no {node.tag.rpartition(':')[2]}", node.start_mark) from error


def readings(text: str) -> Iterator[Any]:
    """Yield the value that a text means in YAML, unless that is text: a number, bool, list, mapping or null."""
    if not text.strip() or text.lstrip().startswith("#"):
        return
    with contextlib.suppress(yaml.YAMLError, TypeError, RecursionError):
        meant = yaml.load(text, Loader=_Loader)
        if isinstance(meant, (bool, int, float, list, dict, NoneType)):
            yield meant
        elif text[-1].isdigit():
            with contextlib.suppress(ValueError):
                yield float(text)  # 1e-3, which YAML takes for text


def read_config_file(path: str) -> Source:
    """Read a YAML file of options.

    Raises:
        UsageError: there is no such file, or it is not a mapping of plain values.
    """
    try:
        content = yaml.load(read_text(path, LARGEST), Loader=_Loader)
    except FileNotFoundError as error:
        raise UsageError(f"there is no configuration file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"configuration file {path} cannot be read ({error})") from error
    except RecursionError as error:
        raise UsageError(f"configuration file {path} is nested too deeply") from error
    except (yaml.YAMLError, TypeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = path if mark is None else f"{path}, line {mark.line + 1}"
        raise UsageError(f"configuration file {where}: {getattr(error, 'problem', None) or one_line(error)}") from error
    if not isinstance(content, dict) or not content:
        found = "is empty" if content is None or content == {} else f"holds a {type(content).__name__}"
        raise UsageError(f"configuration file {path} {found}; expected options, one 'key: value' per line")
    try:
        return Source(path, flatten(content))
    except ValueError as error:
        raise UsageError(f"configuration file {path}: {error}") from error


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a nested configuration into dotted keys; `backbone: cnn` becomes `backbone.name`.

    Raises:
        UserError: an option is given twice, in two spellings.
    """
    pairs: list[tuple[str, Any]] = []
    for key, value in config.items():
        key = str(key).replace("-", "_")
        if key in NAMED and isinstance(value, Mapping):
            pairs += [(f"{key}.{str(option).replace('-', '_')}", v) for option, v in value.items()]
        else:
            pairs.append((f"{key}.name" if key in NAMED else key, value))
    flat = dict(pairs)
    if len(flat) < len(pairs):
        keys = [key for key, _ in pairs]
        raise UserError(f"{next(key for key in keys if keys.count(key) > 1)} is given twice")
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into a nested configuration; the inverse of `flatten`."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        section, _, option = key.partition(".")
        if option:
            nested.setdefault(section, {})[option] = value
        else:
            nested[section] = value
    return nested


def dump(config: Mapping[str, Any]) -> str:
    """Write a configuration as YAML, in its own order."""
    return yaml.safe_dump(plain(config), sort_keys=False, default_flow_style=None, width=100)


def plain(value: Any) -> Any:
    """Turn tuples into lists, and mappings into dictionaries, at every depth."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value
