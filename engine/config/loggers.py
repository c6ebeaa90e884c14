"""Loggers by name: tensorboard, mlflow, or any Lightning logger by the dotted name of its class."""

import importlib
import importlib.util
import inspect
from collections.abc import Sequence

from engine.contract.errors import UserError
from engine.contract.parts import parts
from engine.contract.registry import closest, look_up, options_of
from engine.record.redact import SECRET

NONE = "none"
CLASSES = {
    NONE: "",
    "tensorboard": "lightning.pytorch.loggers.TensorBoardLogger",
    "mlflow": "lightning.pytorch.loggers.MLFlowLogger",
}
# Parameters that a run fills in if they are not given.
FILLED = ("save_dir", "name", "run_name", "run_id")


def find_logger(name: str, from_file: bool) -> type:
    """Return the class of a logger.

    Args:
        name: a name in CLASSES, or a class's dotted name.
        from_file: whether the name is from a file, which may be a stranger's: it must not decide which modules run.

    Raises:
        UserError: there is no such logger here.
    """
    if name == "wandb" or name.endswith(".WandbLogger"):
        raise UserError(f"logger {name}: Weights & Biases is chosen with --wandb")
    if "." not in name:
        try:
            dotted = look_up("logger", name, CLASSES)
        except UserError as error:
            raise UserError(f"{error}, or give the dotted name of a class, such as mypackage.MyLogger") from error
        if importlib.util.find_spec(name) is None:
            raise UserError(f'{name} is not installed: pip install -e ".[{name}]"')
    elif not all(part.isidentifier() for part in name.split(".")):
        raise UserError(f"logger {name}: expected the dotted name of a class, such as mypackage.MyLogger")
    else:
        dotted = name
        known = {"lightning", *(task.__module__.partition(".")[0] for task in parts().tasks.values())}
        if from_file and name.partition(".")[0] not in known:
            raise UserError(
                f"logger {name}: a file can only name loggers of {' and '.join(sorted(known))}; give --logger {name}"
            )
    module, _, symbol = dotted.rpartition(".")
    try:
        home = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise UserError(f"logger {name}: there is no module {error.name}") from error
        raise UserError(f"logger {name} needs {error.name}, which is not installed: pip install it") from error
    found = getattr(home, symbol, None)
    if found is None:
        raise UserError(f"logger {name}: {module} has no {symbol}{closest(symbol, vars(home))}")
    from lightning.pytorch.loggers import Logger

    if not (inspect.isclass(found) and issubclass(found, Logger)) or inspect.isabstract(found):
        raise UserError(f"logger {name}: expected a class derived from lightning.pytorch.loggers.Logger")
    return found


def check_logger_options(name: str, kind: type, given: Sequence[str]) -> None:
    """Refuse options of a logger that would be written to files in the clear, and missing ones.

    Raises:
        UserError: names the option.
    """
    for option in given:
        if SECRET.search(option):
            raise UserError(
                f"--logger.{option} would be stored in config.yaml and in every checkpoint: "
                "use the environment variable that the logger reads"
            )
    for option, parameter in options_of(kind).items():
        if parameter.default is inspect.Parameter.empty and option not in (*given, *FILLED):
            raise UserError(f"logger {name} needs --logger.{option}")
