"""Make the README's pictures from real runs: what each task answers, the report, and the page to try a checkpoint on.

python docs/pictures/make.py checkpoints/CLASSIFY checkpoints/SEGMENT checkpoints/DETECT checkpoints/TRANSLATE

Needs the extra [dev] and chromium. Of each run the folder is enough; a few test images are shown where its data are at
hand.
"""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
WIDTH = 900  # pixels of a picture in the README
COLOURS = 128  # of a PNG's palette: a third of the bytes, and hardly seen
# A handwritten 3, as points on a canvas of 1 x 1.
THREE = [(0.3, 0.25), (0.45, 0.16), (0.64, 0.22), (0.66, 0.38), (0.48, 0.48), (0.66, 0.56), (0.7, 0.74), (0.52, 0.85)]
THREE += [(0.32, 0.78)]


def save(image: Image.Image, name: str) -> None:
    """Write a picture into this folder, no wider than WIDTH, and say so."""
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    path = HERE / f"{name}.png"
    image.convert("RGB").quantize(COLOURS).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}  {image.width} x {image.height}, {path.stat().st_size:,} bytes")


def shot(page: Page, name: str, **options: Any) -> None:
    """Write what a page looks like."""
    path = HERE / f"{name}.full.png"
    page.screenshot(path=path, **options)
    with Image.open(path) as image:
        save(image, name)
    path.unlink()


@contextlib.contextmanager
def served(checkpoint: Path) -> Iterator[str]:
    """Serve a checkpoint's page; yield its address."""
    command = [sys.executable, "-u", ROOT / "scripts" / "demo.py", checkpoint]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[0]
    finally:
        process.terminate()
        process.wait()


def of_demo(browser: Browser, task: str, checkpoint: Path) -> None:
    """Draw a digit, or take the first of a checkpoint's test images."""
    page = browser.new_page(viewport={"width": 1000, "height": 640})
    with served(checkpoint) as address:
        page.goto(address)
        if task == "classify":
            box = page.locator("canvas").bounding_box()
            assert box is not None
            for i, (x, y) in enumerate(THREE):
                page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=8)
                if i == 0:
                    page.mouse.down()
            page.mouse.up()
            page.locator(".seen").wait_for()
        else:
            page.locator("button.gallery-item").first.click()
            page.locator(".text table").wait_for()
            page.wait_for_timeout(1000)  # for the picture beside the table
        shot(page, f"demo-{task}")
    page.close()


def main(folders: list[str]) -> None:
    """Make the pictures of these runs."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not folders or chromium is None:
        sys.exit(__doc__)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for folder in map(Path, folders):
            task = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["task"]
            with Image.open(folder / "plots" / "samples.png") as image:
                save(image, task)
            if task == "classify":
                page = browser.new_page(viewport={"width": 1200, "height": 1500})
                page.goto((folder / "report.html").absolute().as_uri())
                shot(page, "report")
                page.close()
            if task in ("classify", "detect"):
                of_demo(browser, task, folder / "best.ckpt")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
