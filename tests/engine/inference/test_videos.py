import csv
import importlib.util
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.contract.errors import UserError
from engine.errors import RunError, UsageError
from engine.inference import predict
from engine.inputs.video import Video
from tests.runs import run, workplace_of_a_module

CKPT = "checkpoints/a/best.ckpt"
needs_av = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="needs PyAV: the extra [video]")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint trained on the stand-in."""
    with workplace_of_a_module(tmp_path_factory) as folder:
        run("--name", "a", "--max_epochs", 4)
    return folder


@pytest.fixture(autouse=True)
def _(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained / "checkpoints", tmp_path / "checkpoints")


def frame(digit, size=(56, 56)):
    """A digit of the stand-in, in colour, of a size (W, H)."""
    image = np.full((28, 28), 30, np.uint8)
    image[4:24, 4 + 2 * digit : 6 + 2 * digit] = 250
    return Image.fromarray(image).resize(size, Image.Resampling.NEAREST).convert("RGB")


def write_video(path, images, ticks=None, rotation=None, **options):
    """Write images as a video, 10 a second or at the given hundredths of a second."""
    import av

    with av.open(str(path), "w", options=options) as container:
        codec = "ffv1" if path.suffix == ".mkv" else "libx264"
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = images[0].size
        stream.pix_fmt = "yuv444p" if codec == "libx264" else "bgr0"
        stream.codec_context.time_base = Fraction(1, 100)
        for i, image in enumerate(images):
            one = av.VideoFrame.from_image(image)
            one.pts, one.time_base = 10 * i if ticks is None else ticks[i], Fraction(1, 100)
            container.mux(stream.encode(one))
        container.mux(stream.encode())
    if rotation is not None:
        turn(path, rotation)


def turn(path, degrees):
    """State in an MP4 that its pixels are to be turned, as a phone does: in the matrix of the track's header."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40  # version 0: the matrix of nine numbers after forty bytes
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = [cos, sin, 0, -sin, cos, 0, 0, 0, 0x4000]
    content[start : start + 36] = b"".join((value << 16).to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(content)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def read(path):
    return list(Video(Path(path)).frames())


@needs_av
def test_every_frame_has_its_answer_in_a_table_and_in_a_video(capsys):
    digits = [i % 10 for i in range(50)]
    write_video(Path("clip.mp4"), [frame(digit) for digit in digits])
    predict.main([CKPT, "clip.mp4", "--output", "out"])
    table = rows("out/clip_frames.csv")
    assert [row["class"] for row in table] == [str(digit) for digit in digits]
    assert [(row["frame"], row["seconds"]) for row in table[:3]] == [("0", "0.000"), ("1", "0.100"), ("2", "0.200")]
    drawn = read("out/clip.mp4")
    assert len(drawn) == 50 and drawn[-1].seconds == pytest.approx(4.9)
    assert "written: out/clip.mp4, out/clip_frames.csv (50 frames)" in capsys.readouterr().out


@needs_av
def test_what_is_drawn_is_written_and_memory_holds_a_batch_and_not_a_video(monkeypatch):
    write_video(Path("clip.mp4"), [frame(i % 10) for i in range(30)])
    ahead, read_now, written = [], [0], [0]
    frames = Video.frames

    def counted(video):
        for one in frames(video):
            read_now[0] += 1
            ahead.append(read_now[0] - written[0])
            yield one

    def drawn(*arguments, **options):
        written[0] += 1
        return Image.new("RGB", (56, 56), "white")

    monkeypatch.setattr(Video, "frames", counted)
    monkeypatch.setattr(predict, "draw", drawn)
    predict.main([CKPT, "clip.mp4", "--output", "out", "--batch_size", "4"])
    assert written == [30] and max(ahead) <= 5  # a batch, and the frame that begins the next one
    assert all(np.asarray(one.image).min() > 240 for one in read("out/clip.mp4"))


@needs_av
def test_a_variable_rate_and_odd_sides_are_kept(capsys):
    ticks = [0, 10, 15, 70, 71, 200]
    write_video(Path("clip.mkv"), [frame(i, size=(57, 63)) for i in range(6)], ticks=ticks)
    assert [one.seconds for one in read("clip.mkv")] == pytest.approx([tick / 100 for tick in ticks])
    predict.main([CKPT, "clip.mkv", "--output", "out"])
    drawn = read("out/clip.mp4")
    assert [one.seconds for one in drawn] == pytest.approx([tick / 100 for tick in ticks], abs=1e-3)
    assert all(side % 2 == 0 for one in drawn for side in one.image.size)


@needs_av
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_video_of_a_turned_phone_is_upright(degrees):
    upright = frame(3, size=(64, 48))
    stored = upright.rotate(degrees, expand=True)  # counter-clockwise; to be turned back clockwise
    write_video(Path("clip.mp4"), [stored] * 3, rotation=degrees)
    for one in read("clip.mp4"):
        assert one.image.size == (64, 48)
        assert np.abs(np.asarray(one.image, float) - np.asarray(upright, float)).mean() < 4


@needs_av
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_video_that_is_cut_in_half_is_answered_as_far_as_it_goes(capsys, suffix):
    generator = np.random.default_rng(0)  # noise, so that all frames are of one size in the file
    noise = [Image.fromarray(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(40)]
    write_video(Path(f"a{suffix}"), noise, movflags="faststart")
    content = Path(f"a{suffix}").read_bytes()
    Path(f"clip{suffix}").write_bytes(content[: len(content) // 2])
    frame(4).save("whole.png")
    with pytest.raises(RunError) as caught:
        predict.main([CKPT, f"clip{suffix}", "whole.png", "--output", "out"])
    lines = str(caught.value).split("\n")
    assert lines[0] == "1 files left out or read in part:"
    assert f"clip{suffix} is cut off or damaged after " in lines[1] and "s of 4.0 s" in lines[1]
    answered = len(rows("out/clip_frames.csv"))
    assert 10 < answered < 30 and len(read("out/clip.mp4")) == answered
    assert rows("out/predictions.csv")[0]["class"] == "4"


@needs_av
def test_a_whole_video_whose_last_frame_lasts_is_not_taken_to_be_cut():
    write_video(Path("clip.mp4"), [frame(1)] * 3)
    video = Video(Path("clip.mp4"))
    video.seconds = 9.0  # as the file would state
    assert len(list(video.frames())) == 3
    video = Video(Path("clip.mp4"))
    video.seconds, video.num_frames = 9.0, 4
    with pytest.raises(UserError, match=r"clip.mp4 is cut off or damaged after 3 frames, 0\.3 s of 9\.0 s"):
        list(video.frames())


@needs_av
def test_a_terminal_shows_how_far_it_is(monkeypatch, capsys):
    write_video(Path("clip.mp4"), [frame(1)] * 3)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    predict.main([CKPT, "clip.mp4", "--output", "out"])
    assert "\rclip.mp4: frame 1 of 3" in capsys.readouterr().out


def without_an_index(path):
    write_video(path, [frame(1)] * 20)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moov") - 4])


def of_sound(path):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        one = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        one.rate = 8000
        container.mux(stream.encode(one))
        container.mux(stream.encode())


def without_frames(path):
    write_video(path, [frame(1)] * 3)
    content = path.read_bytes()
    start, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    path.write_bytes(content[:start] + bytes(end - start) + content[end:])


def a_playlist(path):
    path.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n")


UNREADABLE = {
    "empty": (lambda path: path.write_bytes(b""), "cannot be read as a video"),
    "text": (lambda path: path.write_text("no video " * 1000), "cannot be read as a video"),
    "no-index": (without_an_index, "cannot be read as a video"),
    "playlist": (a_playlist, "cannot be read as a video"),
    "sound": (of_sound, "has no video stream"),
    "no-frames": (without_frames, "has no frame that can be decoded"),
}


@needs_av
@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_is_no_video_is_named_and_the_others_answered(kind):
    make, said = UNREADABLE[kind]
    make(Path("bad.mp4"))
    write_video(Path("good.mp4"), [frame(2)] * 3)
    with pytest.raises(RunError, match=f"bad.mp4 {said}"):
        predict.main([CKPT, "bad.mp4", "good.mp4", "--output", "out"])
    assert sorted(path.name for path in Path("out").iterdir()) == ["good.mp4", "good_frames.csv"]


@needs_av
def test_videos_among_images_of_a_folder_are_answered_and_no_note_says_they_are_left_out(capsys):
    for inside in ("in", "in/deep", "only"):
        Path(inside).mkdir()
        write_video(Path(inside, "clip.mp4"), [frame(2)] * 3)
    frame(5).save("in/clip.png")
    Path("in/a.heic").touch()
    predict.main([CKPT, "in", "only", "--output", "out", "--batch_size", "2"])
    names = sorted(path.name for path in Path("out").iterdir())
    assert names == sorted(
        ["clip.png", "predictions.csv"]
        + [f"clip{number}{end}" for number in ("", "-2", "-3") for end in (".mp4", "_frames.csv")]
    )
    assert "note: 1 files left out: their format is not read (in/a.heic)" in capsys.readouterr().err


@needs_av
def test_an_earlier_answer_is_replaced_and_no_other_video(capsys):
    write_video(Path("clip.mp4"), [frame(2)] * 3)
    for _ in range(2):
        predict.main([CKPT, "clip.mp4", "--output", "out"])
    before = Path("clip.mp4").read_bytes()
    for output in (".", "other"):
        Path("other").mkdir(exist_ok=True)
        shutil.copy("clip.mp4", "other/clip.mp4")
        with pytest.raises(UsageError, match=r"clip\.mp4 there would be overwritten, but was not written by"):
            predict.main([CKPT, "clip.mp4", "--output", output])
    assert Path("clip.mp4").read_bytes() == before


@needs_av
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "answers to a video are a video and a table: give --output FOLDER"),
        (["--output", "out.csv"], "answers to a video are a video and a table: give --output FOLDER"),
        (["--output", "out", "--format", "coco"], "--format coco is for images, and clip.mp4 is none"),
    ],
)
def test_what_a_video_cannot_be_answered_with_is_refused(flags, said):
    write_video(Path("clip.mp4"), [frame(2)] * 3)
    with pytest.raises(UsageError, match=said):
        predict.main([CKPT, "clip.mp4", *flags])


def test_without_pyav_a_line_has_the_command(monkeypatch):
    Path("clip.mp4").touch()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r'videos need PyAV: pip install -e "\.\[video\]"'):
        predict.main([CKPT, "clip.mp4", "--output", "out"])
