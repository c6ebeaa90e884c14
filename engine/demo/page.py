"""The demo page: Gradio's components, and a canvas of our own to draw on.

Gradio's sketchpad uploads three image files per stroke and keeps them; ours sends a few thousand characters.
"""

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from engine.contract.errors import UserError
from engine.demo.answers import Answers, note

CANVAS = 280  # pixels per side; with lines of 24 pixels, digits are as bold as MNIST's
FONTS = ["system-ui", "sans-serif"]  # system fonts, so none is downloaded
DRAW = """
const canvas = element.querySelector("canvas"), pen = canvas.getContext("2d");
const centre = element.querySelector("input"), shown = element.querySelector(".answer"), empty = shown.innerHTML;
let last = null, drawn = false, busy = false, waiting = false;

function clear() {
    pen.fillStyle = "black";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    drawn = false;
    shown.innerHTML = empty;
}

function move(event) {
    const box = canvas.getBoundingClientRect();
    const next = [(event.clientX - box.left) * canvas.width / box.width,
                  (event.clientY - box.top) * canvas.height / box.height];
    pen.strokeStyle = "white";
    pen.lineWidth = 24;
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    pen.moveTo(...(last || next));
    pen.lineTo(...next);
    pen.stroke();
    last = next;
}

async function ask() {  // one request at a time; the last drawing is always sent
    waiting = true;
    if (busy) return;
    busy = true;
    while (waiting) {
        waiting = false;
        let answer;
        try {
            answer = await server.of_drawing({image: canvas.toDataURL("image/png"), centre: centre.checked});
        } catch {
            answer = '<p class="note">The server does not answer.</p>';
        }
        if (drawn) shown.innerHTML = answer;
    }
    busy = false;
}

canvas.addEventListener("pointerdown", event => {
    if (event.button || last) return;
    canvas.setPointerCapture(event.pointerId);
    drawn = true;
    move(event);
});
canvas.addEventListener("pointermove", event => { if (last) move(event); });
for (const end of ["pointerup", "pointercancel"])
    canvas.addEventListener(end, () => { if (last) ask(); last = null; });
centre.addEventListener("change", () => { if (drawn) ask(); });
element.querySelector("button").addEventListener("click", clear);
clear();
"""
STYLE = """
.draw { display: flex; flex-wrap: wrap; gap: 24px; }
.draw canvas { display: block; touch-action: none; cursor: crosshair; border-radius: 8px; max-width: 100%; }
.draw .tools { display: flex; align-items: center; gap: 12px; width: 280px; max-width: 100%; margin-top: 8px; }
.draw .tools label { flex: 1; line-height: 1.2; }
.draw .tools input { margin-right: 6px; vertical-align: -1px; }
.draw .tools button { padding: 6px 18px; border: 1px solid #8888; border-radius: 8px; font-weight: 600; }
.draw .answer { flex: 1; min-width: 260px; }
.bars { display: grid; gap: 6px; }
.bar { display: grid; grid-template-columns: minmax(1em, max-content) 1fr 4.5em; gap: 10px; align-items: center; }
.bar b { overflow-wrap: anywhere; }
.bar span { height: 18px; border-radius: 4px; background: #8883; overflow: hidden; }
.bar span i { display: block; height: 100%; background: #d55e00; }
.bar em { text-align: right; font-style: normal; font-variant-numeric: tabular-nums; }
.note { margin: 10px 0; }
.seen { display: flex; align-items: center; gap: 10px; margin-top: 14px; }
.seen img { width: 84px; image-rendering: pixelated; border-radius: 4px; }
.text { overflow-x: auto; }
.text table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.text th, .text td { padding: 4px 18px 4px 0; text-align: left; border-bottom: 1px solid #8884; white-space: nowrap; }
.text td i { display: inline-block; width: 14px; height: 14px; margin-right: 8px; border-radius: 3px; }
@media (max-width: 40rem) { .text th, .text td { padding-right: 8px; font-size: 14px; } }
.picture img { object-fit: contain; width: 100%; height: 100%; padding-top: 28px; }
"""
SHARP = ".picture img { image-rendering: pixelated; }"  # images of a few pixels, enlarged


def build_page(
    answers: Answers, title: str, facts: list[str], draw: bool, examples: list[Path], folder: Path
) -> gr.Blocks:
    """Return the page.

    Args:
        answers: predicts a visitor's images.
        title: the page's title.
        facts: lines about the checkpoint.
        draw: whether to add a canvas: for classes of small grey images.
        examples: images to choose from.
        folder: the only folder whose files may be predicted.
    """
    with gr.Blocks(title=title, analytics_enabled=False) as page:
        gr.HTML(f"<h1>{escape(title)}</h1>" + "".join(f"<p>{escape(fact)}</p>" for fact in facts))
        if draw:
            with gr.Tabs():
                with gr.Tab("Draw"):
                    _canvas(answers)
                with gr.Tab("Image"):
                    _image(answers, examples, folder)
        else:
            _image(answers, examples, folder)
    return page


def _canvas(answers: Answers) -> None:
    def of_drawing(asked: Any) -> str:  # Gradio sets an attribute on the function, which a method does not allow
        return answers.of_drawing(asked)

    height, width = answers.task.input.image_size
    sides = f'width="{CANVAS * width // max(height, width)}" height="{CANVAS * height // max(height, width)}"'
    gr.HTML(
        html_template=f"""<div class="draw"><div><canvas {sides} aria-label="draw here"></canvas><div class="tools">
        <label><input type="checkbox" checked>Centre and scale, as MNIST's digits are</label><button>Clear</button>
        </div></div><div class="answer">${{value}}</div></div>""",
        value=answers.empty(),  # not in the template, which would run a class name such as ${{...}}
        js_on_load=DRAW,
        server_functions=[of_drawing],
    )


def _image(answers: Answers, examples: list[Path], folder: Path) -> None:
    hparams, asked = answers.task.hparams, answers.task.asked
    height, width = answers.task.input.image_size
    has_picture = "probability" not in answers.task.columns
    # The bounds of an option are exclusive.
    ranges = {option: (low + (high - low) / 100, high - (high - low) / 100) for option, (low, high) in asked.items()}
    with gr.Row():
        with gr.Column():
            image = gr.Image(
                label="Drop in an image",
                type="filepath",
                sources=["upload", "clipboard"],
                height=320,
                elem_classes="picture",
                buttons=[],
            )
            if examples:
                gr.Examples([[str(path)] for path in examples], image, label="Of its test images")
            invert = gr.Checkbox(label="Invert: swap light and dark", visible=answers.task.input.in_channels == 1)
            letterbox = gr.Checkbox(
                label=f"Letterbox: scale it to {width} x {height} pixels, as trained on",
                visible=answers.task.takes_any_size,
            )
            sliders = [
                gr.Slider(
                    low, high, value=min(max(hparams[option], low), high), step=(high - low) / 98, label=_label(option)
                )
                for option, (low, high) in ranges.items()
            ]
        with gr.Column():
            picture = gr.Image(
                label="Answer",
                interactive=False,
                format="png",
                height=420,
                elem_classes="picture",
                buttons=["download", "fullscreen"],
                visible=has_picture,
            )
            text = gr.HTML(elem_classes="text", apply_default_css=False, padding=True)

    def look(file: Any, invert: Any, letterbox: Any, *values: Any) -> tuple[Image.Image | None, str]:
        if file is None:
            return None, ""
        try:
            # Gradio has not checked these values, and a request may contain anything.
            path, name = Path(file["path"]).resolve(), str(file.get("orig_name") or Path(file["path"]).name)
            if not path.is_relative_to(folder):
                raise UserError("it was not uploaded")
        except (TypeError, KeyError, AttributeError, ValueError, OSError):
            return None, note("This image was not dropped in here.")
        for (option, (low, high)), value in zip(ranges.items(), values, strict=True):
            if not isinstance(value, int | float) or not low <= value <= high:
                return None, note(f"The {_label(option).lower()} is a number from {low:g} to {high:g}.")
        return answers.of_file(path, name, invert is True, letterbox is True, **dict(zip(ranges, values, strict=True)))

    # Without preprocessing by Gradio, so that a faulty file gets our one-line message.
    gr.on(
        [image.change, invert.input, letterbox.input, *(slider.release for slider in sliders)],
        look,
        [image, invert, letterbox, *sliders],
        [picture, text],
        preprocess=False,
        show_progress="hidden",
        trigger_mode="always_last",
        api_visibility="private",
    )


def _label(option: str) -> str:
    return option.replace("_", " ").capitalize()


def look_of(image_size: list[int]) -> dict[str, Any]:
    """Return Gradio's arguments for the page's look, as for `launch` or `mount_gradio_app`."""
    return {
        "theme": gr.themes.Default(font=FONTS, font_mono=["ui-monospace", "monospace"]),
        "css": STYLE + (SHARP if max(image_size) <= 128 else ""),
    }
