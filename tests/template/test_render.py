"""Projects made from the template: renamed, pruned, clean, and the same whenever they are made."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest
import yaml
from PIL import Image

from template.answers import Answers
from template.checkout import write
from template.parts import FEATURES, Tree, read_catalogue
from template.render import render
from tests.scenarios.test_resume import CHANCE
from tests.template.rendered import dead_references
from tests.tiny import ROOT, SIZES_OF

CATALOGUE_TASKS = ["classify", "segment", "detect", "translate", "regress", "multilabel"]
NAME = "cellcount"
LONG_NAME = "particle_count"


def template_tree() -> Tree:
    """Return the files of this checkout, those not committed yet too."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return {name: (ROOT / name).read_bytes() for name in sorted(set(names)) if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def tree() -> Tree:
    return template_tree()


@pytest.fixture(
    scope="module",
    params=[
        "classify",
        pytest.param("detect", marks=pytest.mark.slow),
        pytest.param("segment", marks=pytest.mark.slow),
        pytest.param("translate", marks=pytest.mark.slow),
        pytest.param("regress", marks=pytest.mark.slow),
        pytest.param("multilabel", marks=pytest.mark.slow),
    ],
)
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def files(tree: Tree, task: str) -> Tree:
    return render(tree, Answers(NAME, tasks=task))


@pytest.fixture(scope="module")
def folder(files: Tree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write(files, folder)
    return folder


def lines(files: Tree, *folders: str) -> int:
    return sum(
        len(data.splitlines()) for path, data in files.items() if path.endswith(".py") and path.startswith(folders)
    )


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a made project, and not in the template."""
    variables = {"PYTHONPATH": str(folder), "PATH": str(Path(sys.executable).parent)}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )


def test_the_tasks_tried_here_are_all_there_are(tree):
    assert list(read_catalogue(tree).tasks) == CATALOGUE_TASKS
    assert SIZES_OF.keys() == CHANCE.keys() == {*CATALOGUE_TASKS}  # of which a project has its own


def test_python_is_clean(folder):
    for command in (["check", "."], ["format", "--check", "."]):
        done = run(folder, "-m", "ruff", *command)
        assert done.returncode == 0, done.stdout


def test_its_package_knows_its_task_and_no_other(folder, task):
    code = f"import {NAME}; from {NAME}.tasks import TASKS; from {NAME}.heads import HEADS; print(*TASKS, len(HEADS))"
    done = run(folder, "-c", code)
    assert done.stdout.split() == [
        task,
        {"classify": "1", "detect": "1", "regress": "1", "multilabel": "1"}.get(task, "2"),
    ], done.stderr


def test_without_a_flag_it_trains_its_own_task(folder, task):
    done = run(folder, "scripts/train.py", "--print_config")
    assert done.returncode == 0 and yaml.safe_load(done.stdout)["task"]["name"] == task, done.stderr


def test_no_reference_leads_nowhere(files):
    assert list(dead_references(files, NAME)) == []


def test_nothing_is_called_project_that_means_the_template(files):
    """Of code no string and no module; of pages no folder, module or variable."""
    left = []
    for path, data in files.items():
        if path.endswith(".py"):
            for token in tokenize.tokenize(io.BytesIO(data).readline):
                text = token.string
                if token.type == tokenize.STRING and re.search(r"^[rbf]*[\"']project[\"']$|(?<!\w)project[./]\w", text):
                    left.append((path, token.line))
            for node in ast.walk(ast.parse(data)):
                modules = [node.module] if isinstance(node, ast.ImportFrom) else []
                modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                left += [(path, name) for name in modules if name and name.split(".")[0] == "project"]
        elif path.endswith((".md", ".toml", ".yml", ".yaml", ".txt")):
            found = re.findall(r".*(?:\bproject[./]\w|[`\"']project[`\"']|PROJECT_).*", data.decode())
            left += [(path, line) for line in found]
    wandbs = {"engine/training/runs.py", "engine/record/tracking.py", "tests/engine/record/test_tracking.py"}
    wandbs |= {"engine/record/logger.py", "tests/engine/record/test_logger.py"}
    keys = {"tests/test_package.py", "tests/test_versions.py"}  # of pyproject.toml
    assert [one for one in left if one[0] not in wandbs | keys] == []


def test_what_is_the_templates_own_stays_there(files):
    assert not [path for path in files if path.startswith(("template/", "docs/template/", "tests/template/"))]
    assert "scripts/new_project.py" not in files and "scripts/update_project.py" in files


READERS = {
    "classify": "class_folders",
    "segment": "mask_folders",
    "detect": "box_files",
    "translate": "image_pairs",
    "regress": "number_table",
    "multilabel": "flag_table",
}


def test_it_reads_the_layouts_of_its_task_and_no_other(files, task):
    there = [name for name in READERS.values() if f"engine/files/{name}.py" in files]
    assert there == [READERS[task]]


def test_no_module_that_is_gone_leaves_its_test(tree, files):
    of_modules = {re.sub(r"^tests/(.*)test_(\w+\.py)$", r"\1\2", path) for path in files if path.startswith("tests/")}
    assert not [path for path in of_modules & tree.keys() if path.startswith("engine/") and path not in files]


def test_a_classifier_is_small(tree):
    files = render(tree, Answers(NAME, tasks="classify"))
    assert lines(files, f"{NAME}/") <= 2000


@pytest.fixture(scope="module")
def smallest(tree: Tree) -> Tree:
    """Return the files of the smallest project that is of use: MNIST and class folders, and no feature."""
    return render(tree, Answers(NAME, tasks="classify", backbones="cnn", without="all"))


def test_the_smallest_project_carries_no_room_that_it_does_not_need(smallest):
    own, rooms = lines(smallest, f"{NAME}/"), lines(smallest, "engine/", "scripts/")
    print(f"{own:,} lines of its own, {rooms:,} that carry it")
    assert own <= 1_500 and rooms <= 13_500
    for room in ("report", "demo"):
        assert not [path for path in smallest if path.startswith(f"engine/{room}/")]
    assert [path for path in smallest if path.startswith("scripts/")] == [
        f"scripts/{name}.py"
        for name in ("__init__", "evaluate", "predict", "train")
        if f"scripts/{name}.py" in smallest
    ]


@pytest.mark.slow
def test_the_smallest_project_is_clean_and_trains_measures_and_predicts(smallest, tmp_path):
    project, place = tmp_path / "made", tmp_path / "place"
    write(smallest, project)
    place.mkdir()
    for command in (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]):
        done = run(project, "-m", *command)
        assert done.returncode == 0, done.stdout
    assert list(dead_references(smallest, NAME)) == []
    folder = place / "own"
    for name, value in (("dark", 40), ("light", 200)):
        (folder / name).mkdir(parents=True)
        for i in range(10):
            Image.new("L", (28, 28), value + i).save(folder / name / f"{i}.png")
    best = project / "checkpoints" / "a" / "best.ckpt"
    options = ["--wandb", "disabled", "--data.image_size", "28", "--data.num_workers", "0", "--max_epochs", "2"]
    for script, *arguments in (
        ["train", "--data", folder, "--name", "a", *options],
        ["evaluate", best],
        ["predict", best, folder],
    ):
        done = run(project, f"scripts/{script}.py", *map(str, arguments))
        assert done.returncode == 0, done.stderr
    assert "light" in done.stdout


def test_with_all_tasks_only_the_name_and_the_templates_own_parts_are_other(tree):
    files = render(tree, Answers("project"))
    other = [path for path in tree if files.get(path) not in (tree[path], None) and not path.endswith((".md", ".toml"))]
    assert other == []


@pytest.mark.slow
def test_the_same_answers_give_the_same_bytes(tree):
    answers = Answers(NAME, tasks="segment,detect", without="demo")
    assert render(tree, answers) == render(dict(reversed(tree.items())), answers)


@pytest.mark.slow
@pytest.mark.parametrize("name", [LONG_NAME, "ab"])
def test_a_long_or_short_name_breaks_no_line(tree, tmp_path, name):
    write(render(tree, Answers(name, tasks="classify,detect")), tmp_path)
    for command in (["check"], ["format", "--check"]):
        done = run(tmp_path, "-m", "ruff", *command, ".")
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_can_be_left_out(tree, tmp_path, feature):
    files = render(tree, Answers(NAME, without=feature))
    write(files, tmp_path)
    done = run(tmp_path, "-m", "ruff", "check", ".")
    assert done.returncode == 0, done.stdout
    assert list(dead_references(files, NAME)) == []
    assert f"scripts/{feature}.py" not in files
    assert feature != "demo" or b"gradio" not in files["pyproject.toml"]
