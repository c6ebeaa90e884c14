import base64
import contextlib
import http.client
import importlib.util
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.contract.parts import load_task
from engine.demo import demo
from engine.demo.answers import Answers
from engine.errors import RunError, UsageError
from engine.inference.model import of_task
from engine.inference.predict import Predictions
from engine.resume.checkpoint_file import read_checkpoint, write_checkpoint
from project.tasks import TASKS
from tests.runs import run, workplace_of_a_module
from tests.tiny import PATIENCE, start_script

CKPT = "checkpoints/a/best.ckpt"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_gradio = pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="needs Gradio: the extra [demo]")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a checkpoint trained on the stand-in, where digit k is a bar at a place of its own."""
    with workplace_of_a_module(tmp_path_factory) as folder:
        run("--task", "classify", "--name", "a", "--max_epochs", 4)
    return folder


def small(name, channels=3, class_names=("<a>", "b", "c")):
    """Return a small task, untrained."""
    torch.manual_seed(0)
    about = {"class_names": list(class_names), "in_channels": channels, "image_size": (40, 48)}
    about |= {"mean": [0.4] * channels, "std": [0.3] * channels}
    task = TASKS[name](**about, backbone={"name": "cnn", "widths": [4, 8, 8]}).eval()
    for part in task.head.modules():
        if hasattr(part, "box"):  # untrained, it would find nothing
            torch.nn.init.zeros_(part.box.bias)
            torch.nn.init.zeros_(part.classes.bias)
            task.hparams["score_threshold"] = 0.1
    return task


def write_task(task, path):
    content = {"task": task.task_name, "hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()}
    write_checkpoint(content, path)


@pytest.fixture(params=TASKS)
def task(request):
    return small(request.param)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)).save(path)
    return path


def address(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def bar(digit):
    drawing = np.zeros((280, 280), np.uint8)
    drawing[40:240, 40 + 20 * digit : 60 + 20 * digit] = 250
    return address(drawing)


def likeliest(html):
    """Return the class of the longest bar."""
    bars = html.split('<div class="bar">')[1:]
    return max(bars, key=lambda text: float(text.split("<em>")[1].split(" %")[0])).split("<b>")[1].split("</b>")[0]


def test_a_drawing_is_answered_class_by_class_with_what_the_network_sees(trained):
    answers = Answers(load_task(trained / CKPT))
    for digit in (2, 7):
        html = answers.of_drawing({"image": bar(digit), "centre": False})
        assert likeliest(html) == str(digit)
        assert [text[0] for text in html.split("<b>")[1:]] == list("0123456789")
        picture = html.split('src="data:image/png;base64,')[1].split('"')[0]
        seen = np.array(Image.open(io.BytesIO(base64.b64decode(picture))))
        assert seen.shape == (28, 28) and seen[14].argmax() in (4 + 2 * digit, 5 + 2 * digit)
    centred = [answers.of_drawing({"image": bar(digit), "centre": True}) for digit in (2, 7)]
    assert centred[0] == centred[1]


@pytest.mark.parametrize("image", ["", "http://elsewhere/a.png", "data:image/png;base64,AAAA", None, 3])
def test_what_is_no_drawing_is_said_to_be_none(trained, image):
    assert "This is not a drawing." in Answers(load_task(trained / CKPT)).of_drawing({"image": image})


def test_a_huge_drawing_is_refused(trained):
    huge = address(np.zeros((2000, 2000), np.uint8))
    assert "This is not a drawing." in Answers(load_task(trained / CKPT)).of_drawing({"image": huge})


def test_an_image_is_answered_as_predict_does(task, photo):
    picture, html = Answers(task).of_file(photo, "photo.png")
    (prediction,) = Predictions(of_task(task, "cpu"), whole=task.takes_any_size).of([photo])
    assert "<a>" not in html
    if "probabilities" in prediction.answer:
        best = max(prediction.answer["probabilities"].items(), key=lambda item: item[1])[0]
        assert picture is None and likeliest(html) == best.replace("<a>", "&lt;a&gt;")
        return
    assert picture.width / picture.height == pytest.approx(70 / 50)
    if "image" in prediction.answer:
        assert np.array_equal(np.array(picture), prediction.answer["image"].permute(1, 2, 0).numpy())
    first = next(iter(task.rows(prediction.answer)[0].values()))
    shown = f"{first:.5g}" if isinstance(first, float) else str(first).replace("<a>", "&lt;a&gt;")
    assert shown in html


def test_a_broken_image_is_one_line_on_the_page(task, tmp_path):
    path = tmp_path / "kept as.png"
    path.write_text("text")
    picture, html = Answers(task).of_file(path, "<my>.png")
    assert picture is None and html.count("<p") == 1 and "&lt;my&gt;.png cannot be read as an image" in html
    assert str(tmp_path) not in html
    assert "drop it in again" in Answers(task).of_file(tmp_path / "gone.png", "gone.png")[1]


@pytest.mark.parametrize("task", ["detect"], indirect=True)
def test_the_score_threshold_decides_how_many_objects_are_shown(task, photo):
    few, many = (Answers(task).of_file(photo, "a", score_threshold=score)[1].count("<tr>") for score in (0.95, 0.1))
    assert few < many


# In a process of its own, as Gradio leaves event loops open.
PAGES = """
import json, sys
from pathlib import Path
from engine.resume.checkpoint_file import read_checkpoint
from engine.demo import demo
from project import load_task

photo, *paths = sys.argv[1:]
for path in paths:
    task = load_task(path)
    asked = [0.1] * len(task.asked)
    page, _ = demo.make_page(task, read_checkpoint(path), path, Path(path).parent)
    (look,) = [function.fn for function in page.fns.values() if function.name == "look"]
    assert look(None, False, False, *asked) == (None, "")
    picture, html = look({"path": photo, "orig_name": "photo.png"}, False, False, *asked)
    wrong = (-1, 0, 1, 1e300, "0.5", None, [], True) if asked else ()
    notes = [look({"path": photo}, False, False, score)[1] for score in wrong]
    kinds = [block.get_block_name() for block in page.blocks.values()]
    print(json.dumps([picture and picture.size, html, notes, kinds, page.title, page.analytics_enabled]))
"""


@needs_gradio
def test_there_is_a_page_for_every_task_and_its_function_answers(photo, tmp_path):
    tasks = {name: small(name) for name in TASKS}
    for name, task in tasks.items():
        write_task(task, tmp_path / f"{name}.ckpt")
    paths = [str(tmp_path / f"{name}.ckpt") for name in tasks]
    command = [sys.executable, "-c", PAGES, str(photo), *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    for (name, task), line in zip(tasks.items(), done.stdout.splitlines(), strict=True):
        size, html, notes, kinds, title, analytics = json.loads(line)
        picture, expected = Answers(task).of_file(photo, "photo.png")
        assert html == expected and size == (picture and list(picture.size))
        assert title == name and analytics is False
        assert "tabs" not in kinds and "dataset" not in kinds  # it is not small and grey, and there are no examples
        refused = '<p class="note">The score threshold is a number from 0.01 to 0.99.</p>'
        assert notes == ([refused] * 8 if name == "detect" else [])


def test_examples_are_test_images_of_the_data_if_that_is_at_hand(trained, tmp_path, monkeypatch):
    from project.data.mnist import MNISTDataModule
    from tests.tiny import TINY_SUMS

    monkeypatch.setattr(MNISTDataModule, "sums", TINY_SUMS)
    monkeypatch.chdir(trained)
    checkpoint = read_checkpoint(CKPT)
    task, config = load_task(CKPT), checkpoint["run"]["config"]

    def examples(config):
        return demo.example_images(task, {"run": {"config": config}} if config else {}, CKPT, tmp_path)

    paths = examples(config)
    assert len(paths) == demo.EXAMPLES
    assert [next(Predictions(of_task(task, "cpu")).of([path])).answer["class"] for path in paths] == list("01234")
    assert examples({}) == []
    assert examples({**config, "data": {**config["data"], "root": "nowhere"}}) == []


def test_the_page_says_what_the_checkpoint_is(trained):
    checkpoint = read_checkpoint(trained / CKPT)
    lines = " ".join(demo.facts(load_task(trained / CKPT), checkpoint, CKPT))
    assert "Classes: 0, 1, 2" in lines and "cnn + dense" in lines and "best val/acc" in lines and CKPT in lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: checkpoint"),
        (["nowhere.ckpt"], "there is no checkpoint nowhere.ckpt"),
        (["a.ckpt", "--device", "meta"], "--device meta: expected cpu, cuda or mps"),
        (["a.ckpt", "--device", "cuda:99"], "--device cuda:99: "),
        (["a.ckpt", "--port", "0"], "--port is a number from 1 to 65535, got 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, message, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with pytest.raises(UsageError, match=message):
        demo.main(arguments)


def test_without_gradio_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r'needs Gradio: pip install -e "\.\[demo\]"'):
        demo.main(["a.ckpt"])


def test_a_port_that_is_taken_is_passed_over():
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with contextlib.closing(demo.listen("127.0.0.1", port, port + 100)) as listening:
            assert listening.getsockname()[1] > port
        with pytest.raises(RunError, match="no port from .* is free"):
            demo.listen("127.0.0.1", port, port + 1)
    for host in ("192.0.2.1", "a..b", "x" * 300):
        with pytest.raises(RunError, match=f"--host {host}: "):
            demo.listen(host, 7860, 7862)


@contextlib.contextmanager
def served(folder, *arguments):
    """Serve a checkpoint in a process of its own; yield that, its address, and where it keeps its files."""
    temporary = Path(tempfile.mkdtemp(dir=folder))
    process = start_script("demo", *arguments, cwd=folder, TMPDIR=str(temporary))
    watch = threading.Timer(PATIENCE, process.kill)
    watch.start()
    try:
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), line + process.stdout.read()
        yield process, line.split()[0], temporary
    finally:
        watch.cancel()
        process.kill()
        process.communicate()


@needs_gradio
@pytest.mark.slow  # the address below is ended by SIGTERM
def test_ctrl_c_ends_it_and_leaves_nothing_of_what_was_uploaded(trained):
    with served(trained, CKPT) as (process, _, temporary):
        assert list(temporary.iterdir())
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(timeout=PATIENCE) == 130 and rest == "stopped by SIGINT\n"
    assert not list(temporary.iterdir())


@pytest.fixture(scope="module")
def url(trained):
    """The address of a page for all these tests; its terminal and its folder hold no trace of them in the end."""
    with served(trained, CKPT) as (process, url, temporary):
        yield url
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)
        connection.request("GET", "/gradio_api/heartbeat/a")  # a browser that still looks at it
        assert connection.getresponse().readline() == b"data: ALIVE\n"
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
        assert process.wait(timeout=PATIENCE) == 143 and rest == "stopped by SIGTERM\n"
        connection.close()
    assert not list(temporary.iterdir())


def ask(url, path, body=None, method=None, **headers):
    """Send one request; return its status, its headers and its text."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=PATIENCE)
    with contextlib.closing(connection):
        if isinstance(body, dict):
            body, headers = json.dumps(body), {"content-type": "application/json", **headers}
        connection.request(method or ("GET" if body is None else "POST"), path, body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read().decode(errors="replace")


def form(content, name="a.png"):
    """Return a form with one file in it, as a browser sends it, and its headers."""
    start = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
    body = start + content + b"\r\n--b--\r\n"
    return body, {"content-type": "multipart/form-data; boundary=b", "content-length": str(len(body))}


def upload(url, content, name="a.png"):
    body, headers = form(content, name)
    return ask(url, "/gradio_api/upload", body, **headers)


def look(url, *values):
    """Ask the function behind the image; return the status, and its answer's HTML."""
    functions = json.loads(ask(url, "/config")[2])["dependencies"]
    (number,) = [function["id"] for function in functions if function["api_name"] == "look"]
    session = f"s{time.monotonic_ns()}"
    question = {"data": list(values), "fn_index": number, "session_hash": session}
    status, _, text = ask(url, "/gradio_api/queue/join", question)
    if status != 200:
        return status, text
    lines = ask(url, f"/gradio_api/queue/data?session_hash={session}")[2].splitlines()
    messages = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    (done,) = [message["output"] for message in messages if message["msg"] == "process_completed"]
    return status, done["data"][1] if "data" in done else str(done)  # where Gradio itself could do nothing with it


@needs_gradio
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/config", {}, 200),
        ("/config", {"Host": "localhost:1"}, 200),
        ("/config", {"Host": "[::1]:1"}, 200),
        ("/config", {"Host": "evil.example"}, 403),
        ("/config", {"Host": "evil.example:7860", "Origin": "http://evil.example:7860"}, 403),
        ("/config", {"Host": "localhost.evil.example"}, 403),
        ("/config", {"Host": "[::1"}, 403),
        ("/config", {"Host": ""}, 403),
        ("/config", {"Host": "localhost:1", "Origin": "http://localhost:1"}, 200),
        ("/config", {"Host": "localhost:1", "Origin": "http://localhost:2"}, 403),
        ("/config", {"Origin": "http://evil.example"}, 403),
        ("/config", {"Origin": "null"}, 403),
        ("/gradio_api/file=/etc/passwd", {}, 403),
        ("/gradio_api/file=https://example.com/a.png", {}, 404),
        ("/gradio_api/proxy=https://example.hf.space/a", {}, 404),
        ("/gradio_api/process_recording", {}, 404),
        ("/gradio_api/run/look", {}, 404),
        ("/gradio_api/vibe-edit", {}, 404),
        ("/monitoring", {}, 404),
        ("/docs", {}, 404),
    ],
)
def test_only_what_the_page_itself_asks_is_answered(url, path, headers, status):
    preflight = {"Access-Control-Request-Method": "POST"}
    for method in ("GET", "OPTIONS") if status != 200 and "Origin" in headers else ("GET",):
        got, answered, _ = ask(url, path, method=method, **headers, **preflight)
        assert got == status
        allowed = answered.get("access-control-allow-origin")
        assert allowed is None or (status == 200 and allowed == headers["Origin"])


@needs_gradio
def test_other_pages_can_send_nothing(url):
    status, _, text = ask(url, "/gradio_api/upload", b"", Origin="http://evil.example")
    assert (status, text) == (403, "Pages of 'http://evil.example' may not send requests here.\n")


@needs_gradio
def test_a_file_that_was_not_uploaded_is_not_looked_at(url, trained, photo):
    status, _, text = upload(url, photo.read_bytes())
    (path,) = json.loads(text)
    assert status == 200 and "<b>" in look(url, {"path": path}, False, False)[1]
    inside = os.path.dirname(path)
    for other in (str(photo), f"{inside}/../../../../{photo}", "photo.png", "", "\0", "x" * 5000, None):
        assert "not dropped in here" in look(url, {"path": other}, False, False)[1]


@needs_gradio
def test_what_makes_no_sense_is_refused_and_leaves_no_trace(url, photo):
    for values in ([], [None], [1, 2, 3], [{"path": 3}, {}, []], [{}] * 3, ["a", None, None]):
        assert look(url, *values)[0] == (200 if len(values) == 3 else 422)
    for path in ("queue/join", "component_server", "upload", "reset"):
        for body in (b"", b"{", b"[" * 100_000, {"data": 1}, {"data": [], "fn_index": 99}, {"component_id": "x"}):
            assert ask(url, f"/gradio_api/{path}", body)[0] >= 400
    assert upload(url, photo.read_bytes(), name="..")[0] == 400
    body, headers = form(photo.read_bytes())
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)
    connection.request("POST", "/gradio_api/upload", body[:-100], headers)
    connection.close()  # before all of it is there


@pytest.fixture
def guarded(tmp_path):
    """A guard before an app that says yes, asked as Starlette's own tests do; an image takes up to 1000 bytes."""
    testclient = pytest.importorskip("starlette.testclient", reason="needs Gradio: the extra [demo]")
    from starlette.responses import PlainTextResponse

    from engine.demo import guard as demo_guard

    def client(host="127.0.0.1"):
        guard = demo_guard.Guard(PlainTextResponse("yes"), host, tmp_path, {})
        return testclient.TestClient(guard, base_url="http://localhost:1")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_guard, "BIGGEST", 1000)
        patch.setattr(demo_guard, "MAX_STORED", 3000)
        yield client


def test_uploads_are_limited_each_and_in_sum(guarded, tmp_path):
    client, path = guarded(), "/gradio_api/upload"
    assert client.post(path, content=b"x" * 1000).text == "yes"
    assert client.post(path, content=b"x" * 1001).status_code == 413
    assert client.post(path, content=iter([b"x"])).status_code == 411
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").write_bytes(b"x" * 2500)
    assert client.post(path, content=b"x" * 1000).status_code == 507
    assert client.get("/config").text == "yes"


def test_a_page_that_lets_others_in_is_found_by_its_number_and_its_name(guarded):
    for listened, names, others in (
        (
            "0.0.0.0",
            ["192.0.2.7:80", "[2001:db8::1]", socket.gethostname()],
            ["evil.example", "192.0.2.7.evil.example"],
        ),
        ("192.0.2.7", ["192.0.2.7:80", "localhost"], ["192.0.2.8", socket.gethostname() + ".example"]),
    ):
        client = guarded(listened)
        assert [client.get("/config", headers={"Host": name}).status_code for name in names] == [200] * len(names)
        assert [client.get("/config", headers={"Host": name}).status_code for name in others] == [403] * len(others)


@needs_gradio
def test_what_was_uploaded_is_deleted_when_it_is_old_however_it_is_called(tmp_path):
    from engine.demo.guard import stored, sweep

    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path.parent)
    for name in ("a/old.png", "cut short", "young", "example.png"):
        (tmp_path / name).write_bytes(b"1234")
        os.utime(tmp_path / name, (time.time() + 60,) * 2 if name == "young" else (0, 0))
    assert stored(tmp_path) >= 16
    for _ in range(2):  # a folder is as old as the last change in it
        sweep(tmp_path, {tmp_path / "example.png"}, -1)
    assert {path.name for path in tmp_path.iterdir()} == {"young", "example.png"}


@pytest.fixture(scope="module")
def served_detector(trained):
    write_task(small("detect"), trained / "detect.ckpt")
    with served(trained, "detect.ckpt") as (_, url, _):
        yield url


@pytest.fixture(scope="module")
def browser():
    """A browser of this machine's, without a window."""
    if CHROMIUM is None:
        pytest.skip("needs chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: the extra [dev]")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context()
        context.set_default_timeout(1000 * PATIENCE)
        yield context
        browser.close()


def draw_bar(page, digit):
    box = page.locator("canvas").bounding_box()
    x = box["x"] + (5 + 2 * digit) * box["width"] / 28
    page.mouse.move(x, box["y"] + box["height"] * 0.18)
    page.mouse.down()
    page.mouse.move(x, box["y"] + box["height"] * 0.82, steps=4)
    page.mouse.up()


@needs_gradio
def test_a_digit_drawn_in_a_browser_is_recognised_and_nobody_else_is_asked(browser, url):
    page = browser.new_page()
    asked, failed = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(url)
    page.get_by_label("Centre and scale").uncheck()
    for digit in (3, 8):
        draw_bar(page, digit)
        page.locator(".seen").wait_for()
        assert likeliest(page.locator(".answer").inner_html()) == str(digit)
        page.get_by_role("button", name="Clear").click()
        page.get_by_text("Draw, and the probabilities appear.").wait_for()
    draw_bar(page, 3)
    page.locator(".seen").wait_for()
    before = page.locator(".seen img").get_attribute("src")
    page.get_by_label("Centre and scale").check()
    page.wait_for_function("before => document.querySelector('.seen img').src != before", arg=before)
    page.close()
    outside = [u for u in asked if not u.startswith((url, url.replace("http", "ws"), "data:", "blob:"))]
    assert len(asked) > 10 and not outside and not failed


@needs_gradio
def test_an_image_dropped_in_a_browser_is_answered_and_a_broken_one_named(browser, url, tmp_path):
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 14:16] = 250
    Image.fromarray(image).save(tmp_path / "five.png")
    (tmp_path / "broken.png").write_text("text")
    page = browser.new_page()
    page.goto(url)
    page.get_by_role("tab", name="Image").click()
    for name, expected in (("five.png", "5"), ("broken.png", "broken.png cannot be read as an image")):
        page.locator("input[type=file]").set_input_files(tmp_path / name)
        page.locator(".text").get_by_text(expected, exact=name == "five.png").first.wait_for()
        page.get_by_label("Remove Image").or_(page.get_by_label("Clear")).first.click()
        page.locator(".text").get_by_text(expected).first.wait_for(state="hidden")
    page.close()


@needs_gradio
@pytest.mark.slow
def test_on_a_telephone_no_column_is_cut_off(browser, served_detector, photo):
    page = browser.new_page()
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(served_detector)
    page.locator("input[type=file]").set_input_files(photo)
    page.locator(".text table").wait_for()
    assert page.evaluate("document.querySelector('.text table').getBoundingClientRect().right") <= 390
    page.close()


HOSTILE = ["<img src=x onerror='pwned=1'>", "${window.pwned=2}", "{{#each value}}x{{/each}}", "`+(window.pwned=3)+`"]
HOSTILE += ["</script><script>window.pwned=4</script>", "\\", "\u202eright to left"]


@needs_gradio
@pytest.mark.slow
def test_names_of_classes_are_text_in_a_browser(browser, trained):
    write_task(small("classify", 1, HOSTILE), trained / "hostile.ckpt")
    with served(trained, "hostile.ckpt") as (_, url, _):
        page = browser.new_page()
        failed = []
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto(url)
        page.locator(".answer .note").wait_for()
        assert page.locator(".answer b").all_text_contents() == HOSTILE
        draw_bar(page, 3)
        page.locator(".seen").wait_for()
        assert page.locator(".answer b").all_text_contents() == HOSTILE
        assert page.evaluate("typeof window.pwned") == "undefined" and not failed
        page.close()
