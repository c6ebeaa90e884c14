"""scripts/show_data.py: writes a picture of training samples as a network sees them, with their targets."""

from engine.config import command_line
from engine.config.arguments import check_output, show_data_arguments
from engine.contract.errors import UserError
from engine.errors import RunError, UsageError, one_line
from engine.inputs.drawing import to_image
from engine.report.training_samples import training_samples
from engine.terminal import say
from engine.training import runs


def main(arguments: list[str]) -> None:
    """Write the picture.

    Raises:
        UsageError: the command line is invalid.
        RunError: the data cannot be read.
    """
    output, flags = show_data_arguments(arguments)
    target = check_output(output, [".png"])
    if any(flag.partition("=")[0].replace("-", "_") == "__ckpt_path" for flag in flags):
        raise UsageError("show_data.py draws the data of a new run: leave --ckpt_path out")
    asked = command_line.parse(flags)
    if asked is None:
        return
    data, task = runs.build(asked)
    try:
        data.prepare_data()
        data.setup("fit")
        to_image(training_samples(data, task)).save(target)
    except UserError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise RunError(one_line(error)) from error
    say(data.describe())
    say(f"written: {target}")
