import pytest
import torch

from project.heads.dense import DenseHead


def test_on_a_map_of_grid_size_it_flattens():
    head = DenseHead([3], [4], 10, grid=4)
    coarsest = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(head([coarsest], (16, 16)), head.layers[0](coarsest.flatten(1)))


def test_one_cell_is_global_average_pooling():
    head = DenseHead([3], [4], 10)
    coarsest = torch.randn(2, 3, 5, 7)
    torch.testing.assert_close(head([coarsest], (20, 28)), head.layers[0](coarsest.mean(dim=(2, 3))))


def test_decode_gives_the_likeliest_class_and_probabilities():
    classes, probabilities = DenseHead([3], [4], 2).decode(torch.tensor([[0.0, 2.0], [3.0, 0.0]]))
    assert classes.tolist() == [1, 0]
    assert probabilities[0, 1].item() == pytest.approx(1 / (1 + 2.718281828**-2), abs=1e-6)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2))


def test_lectures_head_has_its_number_of_weights():
    head = DenseHead([10, 20], [2, 4], 10, grid=4, hidden=50)
    assert sum(p.numel() for p in head.parameters()) == 320 * 50 + 50 + 50 * 10 + 10


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="grid must be 1 or more, got 0"):
        DenseHead([3], [4], 10, grid=0)
    with pytest.raises(ValueError, match="hidden is a number of units"):
        DenseHead([3], [4], 10, hidden=-1)
