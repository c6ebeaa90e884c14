"""Files made before options were renamed: tests/fixtures/ has checkpoints and an exported file of that time.

They load, answer and go on as they did then. The numbers are those of the version that made them.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.resume.checkpoint_file import read_checkpoint
from project import LitDetector
from scripts import evaluate, predict, train
from tests.runs import read_metrics
from tests.tiny import ROOT

FIXTURES = ROOT / "tests" / "fixtures"
PROBABILITIES = [0.107436, 0.094012, 0.106831, 0.116176, 0.085987, 0.096109, 0.121969, 0.10478, 0.073361, 0.093339]
# At the end of the run: val/loss, the sum of all weights' sizes, and the score that validation chose.
RESUMED = {"classify": (2.3007023, 160.69901, None), "detect": (6.1890717, 2815.1045, 0.05595712)}


def answer(name: str) -> dict[str, Any]:
    """Return what predict.py says of the picture."""
    predict.main([str(FIXTURES / name), str(FIXTURES / "scene.png"), "--output", "answer.json"])
    return json.loads(Path("answer.json").read_text())[0]


def test_an_old_classifier_answers_as_it_did(workplace):
    assert list(answer("classify.ckpt")["probabilities"].values()) == pytest.approx(PROBABILITIES, abs=1e-4)


@pytest.mark.parametrize("name", ["detect.ckpt", "detect.safetensors"])
def test_an_old_detector_answers_as_it_did(workplace, capsys, name):
    (found,) = answer(name)["objects"]  # the one whose score is at least the 0.0591 that training chose
    assert found.pop("class") == "0"
    assert found == pytest.approx({"score": 0.060687, "x0": 24.11, "y0": 0.0, "x1": 27.02, "y1": 23.89}, rel=1e-3)
    assert "is now" not in capsys.readouterr().err


@pytest.mark.parametrize("given", [["--least_score", "0.061"], ["--least_score=0.061"]])
def test_an_old_flag_of_predict_is_taken_with_a_note(workplace, capsys, given):
    predict.main([str(FIXTURES / "detect.ckpt"), str(FIXTURES / "scene.png"), *given])
    output = capsys.readouterr()
    assert output.err == "note: --least_score is now --score_threshold\n"
    assert "nothing found" in output.out  # it scores 0.0607


def test_an_old_run_is_evaluated_with_old_flags(workplace, capsys):
    evaluate.main([str(FIXTURES / "detect.ckpt"), "--data.download", "true", "--data.most_size", "26"])
    output = capsys.readouterr()
    assert output.err == "note: --data.most_size is now --data.max_size\n"
    assert "4 test images" in output.out


def test_a_detector_is_measured_from_another_score_on(workplace, monkeypatch):
    asked = []
    by_class = lambda task: asked.append(task.hparams["score_threshold"]) or {}  # noqa: E731
    monkeypatch.setattr(LitDetector, "measured_by_class", by_class)
    for flags, score in (([], pytest.approx(0.0591, rel=1e-3)), (["--score_threshold", "0.5"], 0.5)):
        evaluate.main([str(FIXTURES / "detect.ckpt"), "--data.download", "true", *flags])
        assert asked.pop() == score


@pytest.mark.parametrize("name", RESUMED)
def test_an_old_run_goes_on_as_it_would_have_then(workplace, capsys, name):
    Path("checkpoints", name).mkdir(parents=True)
    shutil.copy(FIXTURES / f"{name}.ckpt", f"checkpoints/{name}/last.ckpt")
    train.main(["--ckpt_path", f"checkpoints/{name}/last.ckpt"])
    output = capsys.readouterr()
    assert "note:" not in output.out + output.err
    loss, weights, score = RESUMED[name]
    last = read_checkpoint(f"checkpoints/{name}/last.ckpt")
    assert [float(row["val/loss"]) for row in read_metrics(name) if row["val/loss"]] == [pytest.approx(loss, rel=1e-3)]
    assert sum(w.abs().sum().item() for w in last["state_dict"].values()) == pytest.approx(weights, rel=1e-3)
    assert last["hyper_parameters"].get("score_threshold") == (score and pytest.approx(score, rel=1e-3))
