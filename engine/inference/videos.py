"""predict.py's answers for videos: for each an annotated video, and a table of its frames."""

import copy
import csv
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engine.contract.errors import UserError
from engine.contract.input import Item
from engine.contract.registry import printable
from engine.errors import RunError, UsageError
from engine.inference.cells import harmless
from engine.inputs.video import SUFFIXES, Frame, Video, check_installed
from engine.terminal import say

TABLE_END = "_frames.csv"  # appended to a video's name
MAX_PIXELS = 2**25  # of the frames in memory, unless one alone has more
CODECS = {"libx264": {"preset": "veryfast"}, "mpeg4": {}}  # the first that PyAV's FFmpeg has, and its options
TICK = Fraction(1, 60_000)  # seconds: fine enough for 29.97 frames per second, and within what mpeg4 can state


class Videos:
    """Videos to answer, each into `NAME.mp4` and `NAME_frames.csv` in a folder.

    Args:
        task: the task that answers.
        output: the folder; made if need be.
        paths: the videos.

    Raises:
        UsageError: there is no folder, PyAV or input of frames, or a file would be overwritten that is no such answer.
    """

    suffixes: ClassVar[frozenset[str]] = SUFFIXES

    def __init__(self, task: Any, output: str | None, paths: list[Path]) -> None:
        try:
            check_installed()
        except UserError as error:
            raise UsageError(str(error)) from error
        if not hasattr(task.input, "of_image"):
            raise UsageError(f"{paths[0]} is a video, and task {task.task_name} takes {task.input.word}")
        if output is None or Path(output).suffix:
            raise UsageError(f"{paths[0]}: answers to a video are a video and a table: give --output FOLDER")
        self.task, self.folder = task, Path(output)
        self.names: dict[Path, str] = {}
        for path in paths:
            same = sum(name == path.stem or name.rpartition("-")[0] == path.stem for name in self.names.values())
            self.names[path] = f"{path.stem}-{same + 1}" if same else path.stem
        for path in paths:
            video, table = self._files(path)
            if video.exists() and not (table.exists() and _is_ours(table) and video.resolve() not in _resolved(paths)):
                raise UsageError(
                    f"--output {output}: {video.name} there would be overwritten, but was not written by predict.py; "
                    "choose another folder"
                )

    def _files(self, path: Path) -> tuple[Path, Path]:
        return self.folder / f"{self.names[path]}.mp4", self.folder / f"{self.names[path]}{TABLE_END}"

    def answer(self, predictions: Any, draw: Callable[..., Image.Image]) -> list[str]:
        """Answer all videos, and return a message for each that could not be read, or not to its end.

        Args:
            predictions: `engine.inference.predict.Predictions`.
            draw: draws an answer on a frame.

        Raises:
            RunError: a file cannot be written.
        """
        problems = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in self.names:
                try:
                    self._answer(path, predictions, draw)
                except UserError as error:
                    problems.append(str(error))
        except OSError as error:
            raise RunError(f"{self.folder} cannot be written ({error.strerror})") from error
        return problems

    def _answer(self, path: Path, predictions: Any, draw: Callable[..., Image.Image]) -> None:
        video = Video(path)
        own = copy.copy(predictions)
        own.batch_size = max(1, min(own.batch_size, MAX_PIXELS // max(1, video.pixels)))
        cut_off: list[UserError] = []  # raised after all frames before it are answered
        target, table = self._files(path)
        progress = Progress(video)
        with open(table, "w", newline="", encoding="utf-8") as file, Writer(target, video.rate) as writer:
            lines = None
            for prediction in own.of_items(self._items(video, own, cut_off)):
                frame: Frame = prediction.path
                for row in self.task.rows(prediction.answer):
                    line = {"frame": frame.number, "seconds": f"{frame.seconds:.3f}", **row, **prediction.remarks}
                    if lines is None:
                        lines = csv.DictWriter(file, list(line))
                        lines.writeheader()
                    lines.writerow({name: harmless(value) for name, value in line.items()})
                writer.add(draw(self.task, prediction, picture=_pixels(frame.image)), frame.seconds)
                progress.show(frame)
        progress.end()
        if writer.num_frames:
            say(f"written: {target}, {table} ({writer.num_frames:,} frames)")
        else:
            table.unlink()
        if cut_off:
            raise cut_off[0]

    def _items(self, video: Video, predictions: Any, cut_off: list[UserError]) -> Iterator[tuple[Frame, Item]]:
        whole = predictions.whole or predictions.cut is not None
        try:
            for frame in video.frames():
                item = self.task.input.of_image(frame.image, whole)
                yield frame, item._replace(raw=255 - item.raw) if predictions.invert else item
        except UserError as error:
            cut_off.append(error)
        finally:
            video.close()


def _is_ours(table: Path) -> bool:
    with open(table, encoding="utf-8", errors="replace") as file:
        return file.readline().startswith("frame,seconds,")


def _resolved(paths: list[Path]) -> set[Path]:
    return {path.resolve() for path in paths}


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


class Writer:
    """Writes a video frame by frame, each at its time, so that a variable frame rate stays; all of the first's size.

    Args:
        path: of the video, an .mp4; nothing is written without a frame.
        rate: usual number of frames per second.
    """

    def __init__(self, path: Path, rate: Fraction) -> None:
        self.path, self.rate = path, rate
        self.num_frames = 0
        self._container: Any = None
        self._time = -1  # of the last frame, in TICK

    def add(self, image: Image.Image, seconds: float) -> None:
        """Write the next frame, `seconds` after the first."""
        import av

        values = np.array(image.convert("RGB"))
        # Most players need even sides: the last row or column is doubled.
        values = np.pad(values, ((0, values.shape[0] % 2), (0, values.shape[1] % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(values, format="rgb24")
        if self._container is None:
            self._container = av.open(str(self.path), "w", format="mp4")
            codec = next(name for name in CODECS if name in av.codecs_available)
            self._stream = self._container.add_stream(codec, rate=self.rate, options=CODECS[codec])
            self._stream.width, self._stream.height, self._stream.pix_fmt = frame.width, frame.height, "yuv420p"
            self._stream.codec_context.time_base = TICK
        self._time = max(self._time + 1, round(seconds / TICK))
        frame.pts, frame.time_base = self._time, TICK
        self._container.mux(self._stream.encode(frame.reformat(self._stream.width, self._stream.height, "yuv420p")))
        self.num_frames += 1

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None:
        """Finish the video, also after an error: it plays as far as it goes."""
        if self._container is not None:
            self._container.mux(self._stream.encode())
            self._container.close()


class Progress:
    """One line on a terminal that tells how far a video is answered."""

    def __init__(self, video: Video) -> None:
        self._of = f" of {video.num_frames:,}" if video.num_frames else ""
        self._is_shown = sys.stdout.isatty()
        self._next = 0.0

    def show(self, frame: Frame) -> None:
        """Update the line, once a second."""
        if self._is_shown and time.monotonic() >= self._next:
            print(f"\r{printable(frame.path)}: frame {frame.number + 1:,}{self._of}", end="", flush=True)
            self._next = time.monotonic() + 1

    def end(self) -> None:
        """Remove the line."""
        if self._is_shown:
            print("\r\x1b[K", end="", flush=True)
