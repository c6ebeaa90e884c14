"""README.md and docs/: their Python is run as written, their links and the paths they name lead somewhere."""

import ast
import functools
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.export import command as export
from engine.guides import code_blocks, examples
from engine.inference.load import load_model
from engine.inference.predict import Predictions
from engine.inputs.image_files import read_letterboxed
from engine.resume.checkpoint_file import read_checkpoint, write_checkpoint
from engine.testing import check_data
from project import LitClassifier, MNISTDataModule, load_task
from project.data import DATA
from project.ops import fidelity
from project.tasks import TASKS
from tests.runs import run
from tests.test_houses import JOINS, PUBLIC
from tests.tiny import ROOT

PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md")), *(ROOT / ".github").rglob("*.md")]
GUIDES = sorted((ROOT / "docs").glob("add-*.md"))
HOUSES = ("project", "engine")
LIBERTIES = {
    "engine/resume/lightning_internals.py": "tests/engine/resume/test_lightning_internals.py",
    "engine/shortcuts.py": "tests/engine/test_shortcuts.py",
}
RUN_BELOW = {
    "data-sets.md": 1,
    "export.md": 2,
    "tasks.md": 1,
    "training.md": 1,
    "translate.md": 1,
}  # blocks of each page
OTHERS = ("engine/record/tracking.py", "engine/contract/allocation.py", "project/ops/suppression.py")
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED = re.compile(r"`((?:project|engine|scripts|benchmarks|configs|tests|docs)/[\w/.-]*)`")
ENTRY = re.compile(r"^((?:BACKBONES|HEADS|TASKS|DATA)\b.* = \{\n)", re.MULTILINE)


def blocks(page):
    return list(code_blocks(page.read_text(encoding="utf-8")))


def prose(page):
    """Return a page's text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    """Return the anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\]\(.*?\)", "", text).lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_lead_somewhere(page):
    made = {name for guide in GUIDES for name, _ in blocks(guide)}  # by whoever follows a guide
    assert not [path for path in NAMED.findall(prose(page)) if path not in made and not (ROOT / path).exists()]
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists() and target.is_relative_to(ROOT), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


def test_pages_that_the_code_points_to_are_there():
    code = "".join(path.read_text(encoding="utf-8") for house in HOUSES for path in (ROOT / house).rglob("*.py"))
    pages = re.findall(r"docs/[\w/-]+\.md", code)
    assert pages and not [page for page in pages if not (ROOT / page).exists()]


def test_what_a_checkpoint_holds_is_on_the_page_of_the_architecture(workplace):
    run("--name", "a", "--max_epochs", 1, "--optim.ema", "0.9")
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    keys = read_checkpoint("checkpoints/a/last.ckpt").keys() - {"pytorch-lightning_version", "hparams_name"}
    keys -= {module.__name__ for module in DATA.values()}  # one stands there for all
    assert len(keys) > 10 and not [key for key in keys if f"`{key}`" not in page]


def private_names(code):
    """Return the private names that Python code reads from an object or module, or imports."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            names.update([*node.module.split("."), *(alias.name for alias in node.names)])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr"):
            names.add(getattr(node.args[1], "value", ""))  # a name in quotes
    return {name for name in names if re.match("_[^_]", str(name))}


def test_the_import_rule_is_on_the_page_of_the_architecture():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert not [name for name in (*PUBLIC, *JOINS) if f"`{name}`" not in page]


def test_every_liberty_taken_with_a_library_is_on_the_page_of_the_architecture():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Liberties")[2]
    files = {path: path.read_text(encoding="utf-8") for house in HOUSES for path in (ROOT / house).rglob("*.py")}
    ours = set(re.findall(r"(?m)(?:(?:def|class) |self\.|^    )(_\w+)(?:[(:]| = )", "".join(files.values())))
    ours |= {"_replace", "_exit"}  # of tuples and of os: public, and documented
    taking = {path.relative_to(ROOT).as_posix() for path, code in files.items() if private_names(code) - ours}
    assert taking == {*LIBERTIES, *OTHERS} and not [path for path in taking if f"`{path}`" not in page]


@pytest.mark.parametrize(("file", "test"), LIBERTIES.items())
def test_functions_that_take_liberties_are_on_the_page_and_tested(file, test):
    page, tests = ((ROOT / path).read_text(encoding="utf-8") for path in ("docs/architecture.md", test))
    names = re.findall(r"^(?:def|class) ([a-zA-Z]\w*)", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert names and not [name for name in names if f"`{name}`" not in page or name not in tests]


def test_every_block_is_run_by_a_test_below():
    with_python = {page: len(blocks(page)) for page in {*PAGES} - {*GUIDES} if blocks(page)}
    run_below = {ROOT / "docs" / name: number for name, number in RUN_BELOW.items()}
    assert with_python.items() <= run_below.items()
    assert all(name for guide in GUIDES for name, _ in blocks(guide))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what a plain Trainer remarks
def test_the_notebook_runs_and_its_outputs_are_of_its_code(workplace, monkeypatch, capsys):
    notebook = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    small = functools.partial(MNISTDataModule, val_size=60, batch_size=30)
    monkeypatch.setattr("project.MNISTDataModule", small)
    names = {}
    for cell in cells:
        exec("".join(cell["source"]), names)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert names["task"].predict_image(names["image"])["class"] == "0" and len(names["history"].losses) == 10
    assert "val/acc" in capsys.readouterr().out and "https" not in json.dumps(notebook)


def test_parts_added_as_the_guides_say_pass_their_tests(tmp_path):
    for house in HOUSES:
        shutil.copytree(ROOT / house, tmp_path / house, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    tests = []
    shown = [example for guide in GUIDES for example in examples(guide.read_text(encoding="utf-8"))]
    for name, text in (block for example in shown for block in example.blocks):
        file = tmp_path / name
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            tests += [file] if name.startswith("tests/") else []
        else:  # what there is gets an import or an entry
            before = file.read_text(encoding="utf-8")
            entry = text.startswith(" ")
            after = ENTRY.sub(lambda found, text=text: found[1] + text, before) if entry else text + before
            assert after != before
            file.write_text(after, encoding="utf-8")
    assert len(tests) == len(shown) >= len(GUIDES)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, *tests],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_a_data_set_of_another_library_is_a_data_module(monkeypatch):
    names = {}
    ((_, text),) = blocks(ROOT / "docs" / "data-sets.md")
    exec(text, names)
    module = names["FakeDataModule"]
    check_data(functools.partial(module, batch_size=4), "classify")
    rows = [{"image": Image.new("L", (5 + i, 9), i), "label": i % 3} for i in range(9)]  # as Hugging Face has them
    monkeypatch.setattr(module, "samples", lambda self, split: [(row["image"], row["label"]) for row in rows])
    data = module(batch_size=9)
    data.setup("fit")
    images, labels = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
    assert images.shape == (9, 3, 64, 64) and labels.tolist() == [0, 1, 2] * 3


def test_a_loss_of_ones_own_is_a_plain_function():
    from torchvision.transforms.v2.functional import gaussian_blur

    names = {"torch": torch, "Tensor": torch.Tensor, "gaussian_blur": gaussian_blur}
    ((_, text),) = blocks(ROOT / "docs" / "translate.md")
    exec(text, names)
    image = torch.rand(2, 1, 16, 16, requires_grad=True)
    loss = names["lithography"](image, image.detach(), image.detach())
    loss.backward()
    assert loss.shape == fidelity.RECONSTRUCTIONS["l2"](image, image, image).shape and image.grad.any()


def test_a_classifier_with_a_loss_of_ones_own_has_its_flag_and_is_rebuilt_from_its_checkpoint(workplace, monkeypatch):
    names = {"LitClassifier": LitClassifier, "Any": object, "Tensor": torch.Tensor, "F": torch.nn.functional}
    ((_, text),) = blocks(ROOT / "docs" / "tasks.md")
    exec(text, names)
    monkeypatch.setitem(TASKS, "focal", names["LitFocal"])
    run("--task", "focal", "--data", "mnist", "--task.gamma", 3, "--name", "a", "--max_epochs", 1)
    task = load_task("checkpoints/a/best.ckpt")
    assert type(task).__name__ == "LitFocal" and task.hparams["gamma"] == 3
    logits, labels = torch.tensor([[0.0, 0.0]]), torch.tensor([0])
    assert task.criterion(logits, labels).item() == pytest.approx(math.log(2) / 8)


def test_an_exported_file_is_run_without_the_project(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    task = LitClassifier(["a", "b", "c"], 3, (32, 24), (0.5,) * 3, (0.2,) * 3, backbone={"name": "cnn", "widths": [4]})
    write_checkpoint(
        {"task": "classify", "hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()},
        Path("checkpoints/a/best.ckpt"),
    )
    for kind in ("onnx", "torch"):
        export.main(["checkpoints/a/best.ckpt", "--format", kind])
    generator = np.random.default_rng(0)
    paths = [Path(f"{i}.png") for i in range(5)]
    turned = Image.Exif()
    turned[0x0112] = 6
    for path, (wide, high) in zip(paths, [(200, 100), (50, 130), (24, 32), (10, 11), (90, 40)], strict=True):
        patches = generator.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        image = Image.fromarray(patches).resize((wide, high), Image.Resampling.NEAREST)
        image.save(path, exif=turned if path.stem == "4" else None)
    shutil.copy(paths[0], "image.png")
    capsys.readouterr()
    program, snippet = (text for _, text in blocks(ROOT / "docs" / "export.md"))
    exec(program, {})
    assert capsys.readouterr().out == "torch.Size([2, 3])\n"
    names = {}
    exec(snippet, names)
    found = capsys.readouterr().out.split()
    expected = next(iter(Predictions(load_model("checkpoints/a/best.ckpt")).of(paths))).answer
    assert found[0] == expected["class"] and float(found[1]) == pytest.approx(expected["probability"], abs=0.01)
    for path in paths:
        pixels = read_letterboxed(path, 3, (32, 24)).pixels.numpy()[None].astype(int)
        assert pixels.std() > 20 and np.abs(names["fitted"](path) - pixels).max() <= 2
