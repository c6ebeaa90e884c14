"""The work of scripts/demo.py: serve a page on this machine to try a checkpoint."""

import importlib.util
import os
import signal
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch

from engine.config.arguments import demo_arguments
from engine.contract.errors import UserError
from engine.contract.parts import parts, task_of
from engine.contract.task import Task
from engine.demo.answers import Answers
from engine.errors import RunError, Stopped, UsageError, one_line
from engine.inference.evaluate import images_at_hand
from engine.inference.predict import ask_with, best_device, check_device
from engine.inputs.drawing import to_image
from engine.resume.checkpoint_file import read_checkpoint
from engine.shortcuts import settle_threads
from engine.terminal import say
from engine.training.progress import percent_or_number

EXAMPLES = 5
MAX_DRAWN = 64  # pixels per side up to which the page has a canvas to draw on
MAX_NAMES = 30  # classes that are listed
PORTS = 100  # ports to try, one after another
# No requests to other machines: no statistics, no version check, no proxy between the browser and this server.
ALONE = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "NO_PROXY": "*", "no_proxy": "*"}


def main(arguments: list[str]) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        UsageError: the command line is wrong, or the checkpoint cannot be read.
        RunError: Gradio is not installed, or no port is free.
        Stopped: SIGINT or SIGTERM ended it.
    """
    given = demo_arguments(arguments, parts().tasks)
    check_device(given.device)
    if not 1 <= given.port <= 65535:
        raise UsageError(f"--port is a number from 1 to 65535, got {given.port}")
    if importlib.util.find_spec("gradio") is None:
        raise RunError('the page needs Gradio: pip install -e ".[demo]"')
    settle_threads(1)
    try:
        checkpoint = read_checkpoint(given.checkpoint)
        task = task_of(checkpoint, given.device or best_device())
    except (OSError, UserError) as error:
        raise UsageError(one_line(error)) from error
    ask_with(task, given.asked)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    # An upload may still be in progress while the folder is removed.
    with tempfile.TemporaryDirectory(prefix="demo-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        page, look = make_page(task, checkpoint, given.checkpoint, folder)
        from engine.demo.server import serve

        with listen(given.host, given.port, given.port + PORTS) as listening:
            port = listening.getsockname()[1]
            host = f"[{given.host}]" if ":" in given.host else given.host
            say(f"http://{host}:{port} shows {given.checkpoint}; Ctrl-C ends it")
            serve(page, listening, given.host, folder, look)


def _stop(number: int, frame: Any) -> NoReturn:
    raise Stopped(number)


def make_page(task: Task, checkpoint: dict[str, Any], path: str, folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return the page of a checkpoint, and Gradio's arguments for its look.

    Args:
        task: the checkpoint's task, on its device.
        checkpoint: the file's content.
        path: the file.
        folder: holds uploaded and example images for as long as they are needed.
    """
    os.environ |= {**ALONE, "GRADIO_TEMP_DIR": str(folder), "GRADIO_EXAMPLES_CACHE": str(folder)}
    # Imported here because Gradio reads these variables on import, and takes seconds to load.
    from engine.demo.page import build_page, look_of

    size = task.input.image_size
    draw = "probability" in task.columns and task.input.in_channels == 1 and max(size) <= MAX_DRAWN
    config = checkpoint.get("run", {}).get("config", {})
    data = Path(config["data"]["name"]).absolute().name if config else ""
    title = f"{task.task_name}: {data}" if data else task.task_name
    examples = example_images(task, checkpoint, path, folder)
    shown = build_page(Answers(task), title, facts(task, checkpoint, path), draw, examples, folder)
    return shown, look_of(size)


def facts(task: Task, checkpoint: Mapping[str, Any], path: str) -> list[str]:
    """Return two lines on a checkpoint: its classes; its network, input, best metric and file."""
    names = task.hparams["class_names"]
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    parts = [f"{task.hparams['backbone']['name']} + {task.hparams['head']['name']}"]
    parts.append(str(task.input))
    best = checkpoint.get("callbacks", {}).get("RunCheckpoints", {})
    if best.get("best_value") is not None:
        value = percent_or_number(best["metric"], float(best["best_value"]))
        parts.append(f"best {best['metric']} {value}, epoch {best['best_epoch'] + 1}")
    return [f"{task.names_are}: {', '.join(names[:MAX_NAMES])}{more}", ", ".join([*parts, path])]


def example_images(task: Task, checkpoint: dict[str, Any], path: str, folder: Path) -> list[Path]:
    """Write a few test images of the data that a checkpoint was trained on; none if the data are not here."""
    try:
        store, _ = images_at_hand(path, checkpoint, task, {})
        images = store.__getitems__(range(min(EXAMPLES, len(store))))[0]
    except (RunError, OSError, UserError):
        return []
    files = [folder / f"{i + 1}.png" for i in range(len(images))]
    for image, file in zip(images, files, strict=True):
        to_image(torch.as_tensor(image)).save(file)
    return files


def listen(host: str, first: int, end: int) -> socket.socket:
    """Listen on the first free port from `first` up to `end` - 1.

    Raises:
        RunError: no port is free, or the host is not an address of this machine.
    """
    reason = "no port left"
    for port in range(first, min(end, 65536)):
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, port), family=family)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
    raise RunError(f"--host {host}: no port from {first} to {end - 1} is free ({reason})")
