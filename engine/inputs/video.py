"""Reading user videos frame by frame, upright, by PyAV."""

import importlib.util
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from engine.contract.errors import UserError
from engine.inputs.reading import regular

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".3gp", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".wmv"})
# FFmpeg's names of their containers. Others are refused: a playlist would have it read other files, or the network.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegts,mpegvideo,asf"
# Operations that turn a frame upright, by FFmpeg's angle in degrees, counter-clockwise.
TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
SLACK = 0.5  # seconds by which the last frame may end before the stated end of a whole video


class Frame(NamedTuple):
    """A frame of a video."""

    path: Path
    number: int  # from 0
    seconds: float  # since the first frame
    image: Image.Image

    def __str__(self) -> str:
        return f"{self.path}, frame {self.number}"


def check_installed() -> None:
    """Refuse videos without PyAV.

    Raises:
        UserError: it is not installed.
    """
    if importlib.util.find_spec("av") is None:
        raise UserError('videos need PyAV: pip install -e ".[video]"')


class Video:
    """A video file.

    Args:
        path: of the file.

    Raises:
        UserError: the file is not a video; names it.
    """

    def __init__(self, path: Path) -> None:
        import av

        av.logging.set_level(av.logging.PANIC)  # what is wrong is raised, or seen at the end
        self.path = path
        options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
        try:
            self._container: Any = av.open(str(regular(path).absolute()), options=options, metadata_errors="replace")
        except (OSError, av.FFmpegError) as error:
            raise UserError(
                f"{path} cannot be read as a video ({getattr(error, 'strerror', None) or error})"
            ) from error
        if not self._container.streams.video:
            self._container.close()
            raise UserError(f"{path} has no video stream")
        self._stream: Any = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.rate = Fraction(self._stream.average_rate or 25)  # frames per second
        self.pixels = self._stream.width * self._stream.height  # of a frame
        self.num_frames = self._stream.frames  # as stated; 0 if it is not
        self.seconds = self._stated_seconds()

    def _stated_seconds(self) -> float:
        """Return the stated length of the video stream; 0 if it is not stated."""
        if self._stream.duration is not None:
            return float(self._stream.duration * self._stream.time_base)
        if len(self._container.streams) == 1 and self._container.duration is not None:
            return self._container.duration / 1e6  # of the whole file, thus of this stream
        try:
            hours, minutes, seconds = self._stream.metadata.get("DURATION", "").split(":")  # as Matroska has it
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        except ValueError:
            return 0

    def frames(self) -> Iterator[Frame]:
        """Yield the frames, upright and in colour, one at a time.

        Raises:
            UserError: the file ends before its stated end, is damaged, or holds no frame; names the last frame.
        """
        import av

        first, end, number, why = None, 0.0, 0, ""
        try:
            for frame in self._container.decode(self._stream):
                time = frame.time if frame.time is not None else end
                first = time if first is None else first
                image = frame.to_image()
                turn = frame.rotation % 360
                seconds = max(time - first, end if frame.time is None else 0)
                end = seconds + float(frame.duration * frame.time_base if frame.duration else 1 / self.rate)
                yield Frame(self.path, number, seconds, image.transpose(TURNS[turn]) if turn in TURNS else image)
                number += 1
        except av.FFmpegError as error:
            why = f" ({getattr(error, 'strerror', None) or error})"
        if number == 0:
            raise UserError(f"{self.path} has no frame that can be decoded{why}")
        is_short = end + SLACK < self.seconds and not 0 < self.num_frames <= number
        if why or is_short:
            stated = f" of {self.seconds:.1f} s" if self.seconds else ""
            raise UserError(f"{self.path} is cut off or damaged after {number} frames, {end:.1f} s{stated}{why}")

    def close(self) -> None:
        """Close the file."""
        self._container.close()
