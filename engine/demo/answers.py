"""The answers of the demo page: predict.py's, as HTML. This file does not import Gradio."""

import base64
import io
import threading
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from engine.contract.errors import UserError
from engine.contract.registry import printable
from engine.contract.task import Task
from engine.demo.scribble import like_mnist, scaled
from engine.errors import RunError
from engine.inference.model import of_task
from engine.inference.predict import NOTHING, NUMERIC, Predictions, draw
from engine.inputs.drawing import to_image
from engine.inputs.image_files import opened

MAX_SHOWN = 5  # classes listed for an uploaded image
MIN_SIDE = 400  # pixels to which a small picture with texts is enlarged
WIDEST = 1200  # pixels of a picture on the page; predict.py writes it in full size
MAX_TEXT = 2**20  # characters of an encoded drawing; a few thousand are usual
MAX_SIDE = 1024  # pixels of a drawing
PNG = "data:image/png;base64,"


class Answers:
    """Predicts a visitor's drawings and image files, one at a time.

    Args:
        task: a task in evaluation mode, on its device.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.model = of_task(task, str(task.device))
        self.names: list[str] = task.hparams["class_names"]
        self.lock = threading.Lock()  # requests run in threads, and options are set on the shared task

    def empty(self) -> str:
        """Return the HTML shown before anything is drawn."""
        return _bars((name, 0.0) for name in self.names) + note("Draw, and the probabilities appear.")

    def of_drawing(self, asked: Mapping[str, Any]) -> str:
        """Return the probabilities of all classes, in their order, and the network's input image, as HTML.

        Args:
            asked: `image`, a PNG as data URL (data:image/png;base64,...), light on black; and `centre`, whether to
                centre and scale it like MNIST's digits.
        """
        try:
            drawing = _decoded(asked["image"])
        except (KeyError, TypeError, ValueError):
            return note("This is not a drawing.")
        size = self.task.input.image_size
        pixels = (like_mnist if asked.get("centre") else scaled)(drawing, size)[None]  # (1, H, W)
        with self.lock, torch.inference_mode():
            answer = self.task.answers(self.model.outputs(pixels[None]), [(size[0], size[1])])[0]
        seen = f'<img src="{_encoded(to_image(pixels))}" alt="what the network sees">'
        return (
            _bars(answer["probabilities"].items()) + f'<div class="seen">{seen}<span>What the network sees</span></div>'
        )

    def of_file(
        self, path: Path, name: str, invert: bool = False, letterbox: bool = False, **asked: float
    ) -> tuple[Image.Image | None, str]:
        """Return the picture of an answer, if the task has one, and the answer or an error message as HTML.

        Args:
            path: the file.
            name: its name on the visitor's machine.
            invert: swap light and dark first.
            letterbox: scale the image to the training size even if the task takes any size.
            asked: values for the task's options in `asked`.
        """
        if not path.is_file():
            return None, note(f"{printable(name)} has been deleted from the server: drop it in again.")
        predictions = Predictions(self.model, invert, whole=self.task.takes_any_size and not letterbox)
        try:
            with self.lock:
                for option, value in asked.items():
                    self.task.ask_with(option, value)
                found = list(predictions.of([path]))
        except RunError as error:
            return None, note(str(error).replace(str(path), printable(name)))
        if not found:
            return None, note(" ".join(predictions.unreadable).replace(str(path), printable(name)))
        answer = found[0].answer
        text = note("It looks inverted: try to invert it.") if any(found[0].remarks.values()) else ""
        if "probabilities" in answer:
            best = sorted(answer["probabilities"].items(), key=lambda item: -item[1])
            return None, _bars(best[:MAX_SHOWN]) + text
        picture = draw(self.task, found[0], MIN_SIDE)
        picture.thumbnail((WIDEST, WIDEST))
        return picture, self._table(answer) + text

    def _table(self, answer: Mapping[str, Any]) -> str:
        rows = self.task.rows(answer)
        columns = self.task.columns
        if all(row[name] is None for row in rows for name in columns):
            return note(f"{NOTHING.capitalize()}.")
        head = "".join(f"<th>{escape(name)}</th>" for name in columns)
        body = ""
        colours = self.task.legend() if "mask" in answer else {}
        for row in rows:
            cells = [_cell(row[name], kind) for name, kind in columns.items()]
            if row.get("class") in colours:
                colour = "#{:02x}{:02x}{:02x}".format(*colours[row["class"]])
                cells[0] = f'<i style="background:{colour}"></i>{cells[0]}'
            body += "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: Any, kind: str) -> str:
    if kind == "text":
        return escape(str(value))
    return f"{100 * value:.1f} %" if kind == "percent" else f"{value:{NUMERIC[kind]}}"


def _bars(values: Iterable[tuple[str, float]]) -> str:
    lines = "".join(
        f'<div class="bar"><b>{escape(name)}</b><span><i style="width:{100 * value:.1f}%"></i></span>'
        f"<em>{100 * value:.1f} %</em></div>"
        for name, value in values
    )
    return f'<div class="bars">{lines}</div>'


def note(text: str) -> str:
    """Return a line about an image, as HTML."""
    return f'<p class="note">{escape(text)}</p>'


def _decoded(address: Any) -> torch.Tensor:
    """Decode a drawing, uint8 (h, w), from its data URL.

    Raises:
        UserError: it is not a PNG, or too large.
        ValueError: it is not base64.
    """
    if not isinstance(address, str) or not address.startswith(PNG) or len(address) > MAX_TEXT:
        raise UserError("a drawing is a PNG")
    with opened(io.BytesIO(base64.b64decode(address.removeprefix(PNG), validate=True))) as image:
        if max(image.size) > MAX_SIDE:
            raise UserError(f"a drawing has at most {MAX_SIDE} pixels per side")
        return torch.from_numpy(np.array(image.convert("L")))


def _encoded(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return PNG + base64.b64encode(file.getvalue()).decode()
