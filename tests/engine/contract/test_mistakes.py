import pytest
import torch

from engine.contract.mistakes import KEPT, MAX_CLASSES, Mistakes, bin_of, calibration_error, class_scores


def logits_for(predicted, sureness):
    return torch.nn.functional.one_hot(torch.tensor(predicted), 3) * torch.tensor(sureness)[:, None]


def images_of(numbers):
    return torch.tensor(numbers).float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def test_counts_are_of_true_classes_by_rows_and_add_up_over_batches():
    mistakes = Mistakes(3, (1, 2, 2))
    mistakes.update(logits_for([0, 1, 2], [5.0, 5, 5]), torch.tensor([0, 1, 1]), images_of([0, 1, 2]))
    mistakes.update(logits_for([2, 0], [5.0, 5]), torch.tensor([1, 0]), images_of([3, 4]))
    assert mistakes.compute()[0].tolist() == [[2, 0, 0], [0, 1, 2], [0, 0, 0]]


def test_the_surest_mistakes_of_all_batches_are_kept_with_their_images_and_no_more():
    mistakes = Mistakes(3, (1, 2, 2))
    for batch in range(10):
        numbers = list(range(4 * batch, 4 * batch + 4))
        sure = [1 + 0.1 * number for number in numbers]
        mistakes.update(logits_for([1, 1, 1, 2], sure), torch.tensor([0, 1, 0, 0]), images_of(numbers))
    found = mistakes.compute()[1]
    expected = [number for number in reversed(range(40)) if number % 4 != 1][:KEPT]
    assert [int(image[0, 0, 0]) for image, *_ in found] == expected
    assert [(true, predicted) for _, true, predicted, _ in found] == [(0, 2 if n % 4 == 3 else 1) for n in expected]
    probability = logits_for([2], [1 + 3.9]).softmax(dim=1).max().item()
    assert abs(found[0][3] - probability) < 1e-6
    assert mistakes.images.shape == (KEPT, 1, 2, 2)


def test_what_is_right_is_no_mistake_and_a_reset_forgets():
    mistakes = Mistakes(3, (1, 2, 2))
    mistakes.update(logits_for([0, 1], [5.0, 5]), torch.tensor([0, 1]), images_of([0, 1]))
    assert mistakes.compute()[1] == []
    mistakes.update(logits_for([0], [5.0]), torch.tensor([1]), images_of([0]))
    assert len(mistakes.compute()[1]) == 1
    mistakes.reset()
    mistakes.update(logits_for([0], [5.0]), torch.tensor([0]), images_of([0]))
    assert mistakes.compute()[1] == [] and mistakes.compute()[0].sum() == 1


def test_of_very_many_classes_there_are_no_counts():
    mistakes = Mistakes(MAX_CLASSES + 1, (1, 2, 2))
    mistakes.update(torch.eye(MAX_CLASSES + 1)[:2], torch.tensor([0, 5]), images_of([0, 1]))
    counts, found, _ = mistakes.compute()
    assert counts is None and len(found) == 1


def test_scores_of_classes_by_hand():
    """Of a 3 of 4 are found, and 6 images are given a; c is there and never predicted; d is nowhere."""
    counts = torch.tensor([[3, 1, 0, 0], [2, 4, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    scores = class_scores(counts)
    assert scores.precision[:3].tolist() == pytest.approx([3 / 6, 4 / 5, 0])
    assert scores.recall[:3].tolist() == pytest.approx([3 / 4, 4 / 6, 0])
    assert scores.f1[:3].tolist() == pytest.approx([6 / 10, 8 / 11, 0])
    assert all(score[3].isnan() for score in scores)


def test_the_calibration_error_by_hand():
    """Two images are in one bin: sure by 0.9 and 0.91, and one of them right."""
    mistakes = Mistakes(2, (1, 2, 2))
    sure, right = torch.tensor([0.9, 0.91, 0.95, 0.55]), torch.tensor([True, False, True, False])
    logits = torch.stack([sure, 1 - sure], dim=1).log()
    for part in (slice(0, 1), slice(1, 4)):
        mistakes.update(logits[part], (~right[part]).long(), images_of([0, 1, 2, 3])[part])
    expected = (abs(1 - 1.81) + abs(1 - 0.95) + abs(0 - 0.55)) / 4
    assert calibration_error(mistakes.compute()[2]) == pytest.approx(expected, abs=1e-6)


def test_bins_of_probabilities_have_their_upper_ends():
    assert bin_of(torch.tensor([0.0, 0.01, 0.07, 0.5, 0.94, 1.0])).tolist() == [0, 0, 1, 7, 14, 14]
