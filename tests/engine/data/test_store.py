import pytest
import torch

from engine.data.store import ImageStore, collate


def store():
    return ImageStore(torch.arange(12, dtype=torch.uint8).view(6, 1, 1, 2), torch.arange(6))


def test_a_batch_is_fetched_whole_and_handed_on_as_it_is():
    images, targets = collate(store().__getitems__([4, 0]))
    assert images.tolist() == [[[[8, 9]]], [[[0, 1]]]] and targets.tolist() == [4, 0]
    assert images.dtype == torch.uint8


def test_one_item_and_a_subset_agree_with_a_batch():
    image, target = store()[4]
    assert image.tolist() == [[[8, 9]]] and target == 4
    assert store().subset(torch.tensor([4, 0])).targets.tolist() == [4, 0]


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match="6 images but 5 targets"):
        ImageStore(store().images, torch.arange(5))
    with pytest.raises(ValueError, match="must be uint8"):
        ImageStore(store().images.float(), torch.arange(6))
