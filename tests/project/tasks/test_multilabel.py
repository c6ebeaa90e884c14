import pytest
import torch
from torchmetrics.functional.classification import multilabel_average_precision, multilabel_f1_score

from engine.testing.tasks import ABOUT, batches, quiet
from project.tasks.multilabel import LitMultiLabel, best_thresholds

SMALL = {"backbone": {"name": "cnn", "widths": [4, 8]}}


def small(**options):
    torch.manual_seed(0)
    return LitMultiLabel(**ABOUT, **SMALL, **options)


def test_measures_are_those_of_torchmetrics_for_classes_that_occur():
    generator = torch.Generator().manual_seed(0)
    probabilities, flags = (
        torch.rand(50, 3, generator=generator),
        (torch.rand(50, 3, generator=generator) > 0.7).float(),
    )
    task = small(thresholds=[0.3, 0.5, 0.7])
    found = task.measured_by_class(torch.stack([probabilities, flags], dim=1))
    expected = multilabel_average_precision(probabilities, flags.long(), 3, average="none")
    torch.testing.assert_close(found["map"], expected)
    predicted = (probabilities >= torch.tensor([0.3, 0.5, 0.7])).long()
    torch.testing.assert_close(found["f1"], multilabel_f1_score(predicted, flags.long(), 3, average="none"))
    flags[:, 1] = 0
    found = task.measured_by_class(torch.stack([probabilities * torch.tensor([1, 0.4, 1]), flags], dim=1))
    assert found["map"].isnan().tolist() == found["f1"].isnan().tolist() == [False, True, False]


def test_the_threshold_of_each_class_is_that_of_its_highest_f1():
    probabilities = torch.tensor([[0.9, 0.2, 0.3], [0.6, 0.1, 0.3], [0.4, 0.05, 0.3]])
    flags = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert best_thresholds(probabilities, flags) == pytest.approx([0.5, 0.075, 0.5])


def test_validation_chooses_thresholds_that_a_resumed_run_keeps_and_given_ones_stay():
    task = small()
    quiet(max_epochs=1).fit(task, batches("multilabel"), batches("multilabel"))
    assert task.hparams["thresholds"] != [0.5] * 3
    again = small()
    again.take_choices(task.hparams)
    assert again.hparams["thresholds"] == task.hparams["thresholds"]
    given = small(thresholds=[0.2, 0.3, 0.4])
    quiet(max_epochs=1).fit(given, batches("multilabel"), batches("multilabel"))
    given.take_choices(task.hparams)
    assert given.hparams["thresholds"] == [0.2, 0.3, 0.4]


def test_an_answer_lists_the_classes_above_their_thresholds_by_probability():
    task = small(thresholds=[0.5, 0.1, 0.9])
    answers = task.answers({"probabilities": torch.tensor([[0.6, 0.7, 0.8], [0.4, 0.0, 0.2]])}, [(9, 9)] * 2)
    assert [one["class"] for one in answers[0]["classes"]] == ["b", "a"]
    assert task.rows(answers[0])[0] == {"class": "b", "probability": 0.7}
    assert task.rows(answers[1]) == [{"class": None, "probability": None}]
    assert task.target_text(torch.tensor([1.0, 0.0, 1.0])) == "a, c" and task.target_text(torch.zeros(3)) == "nothing"


@pytest.mark.parametrize("thresholds", [[0.5], [0.5, 0.5, 1.0], [0.0, 0.5, 0.5]])
def test_thresholds_that_cannot_be_are_refused(thresholds):
    with pytest.raises(ValueError, match="thresholds are a probability in .0, 1. for each of 3 classes, got"):
        small(thresholds=thresholds)


@pytest.mark.parametrize("thresholds", [None, [0.5], [0.5, 0.5, 2.0]])
def test_thresholds_of_a_file_that_do_not_fit_its_classes_are_one_line(thresholds):
    with pytest.raises(ValueError, match="thresholds are a probability in .0, 1. for each of 3 classes, got"):
        LitMultiLabel.without_network({**small().hparams, "thresholds": thresholds})


def test_a_batch_is_learnt():
    task = small(optim={"schedule": "constant", "lr": 0.02})
    trainer = quiet(max_epochs=80)
    trainer.fit(task, batches("multilabel"), batches("multilabel"))
    measured = trainer.test(task, batches("multilabel"), verbose=False)[0]
    assert measured["test/map"] > 0.9 and measured["test/f1"] > 0.9 and "test/f1/a" in measured
