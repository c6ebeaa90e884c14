import pytest
import torch
from torchvision import tv_tensors

from engine.data.augment import Varied, objects
from engine.data.cache import Cache
from engine.data.samples import SampleStore, together

SIZE = (24, 32)


class Made:
    """A source of noise with a box, which counts how often it was read."""

    def __init__(self, num=8):
        self.num = num
        self.reads = 0

    def __len__(self):
        return self.num

    def specs(self, size):
        return [((3, *size), torch.uint8), ((4,), torch.int32)]

    def read(self, index, size):
        self.reads += 1
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8)
        return [image, torch.tensor([index, 2, 20, 16], dtype=torch.int32)]

    def sample(self, index, planes, size):
        return tv_tensors.Image(planes[0]), objects(planes[1][None].float(), torch.tensor([index]), size)


def store(cache=None, seed=3, **options):
    options = {"zoom": 0.5, "flip": True, "mosaic": 0.5, "num": 8, **options}
    return SampleStore(Made(), SIZE, cache, Varied(SIZE, **options), seed)


def same(a, b):
    return torch.equal(a[0], b[0]) and torch.equal(a[1]["boxes"], b[1]["boxes"])


def test_a_sample_is_a_function_of_seed_epoch_and_index_alone():
    first, again, other = store(), store(), store(seed=4)
    wanted = [(epoch, index) for epoch in range(2) for index in range(8)]
    straight = {key: first[key] for key in wanted}
    torch.manual_seed(99)  # nothing outside may matter
    backwards = {key: again[key] for key in reversed(wanted)}
    assert all(same(straight[key], backwards[key]) for key in wanted)
    assert not any(same(straight[0, i], straight[1, i]) for i in range(8))
    assert not any(same(straight[0, i], other[0, i]) for i in range(8))


def test_drawing_leaves_the_global_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    store()[1, 2]
    assert torch.equal(torch.rand(3), expected)


def test_without_an_epoch_a_sample_is_not_varied():
    image, target = store()[2]
    assert torch.equal(image, Made().read(2, SIZE)[0]) and target["boxes"].tolist() == [[2, 2, 20, 16]]


def test_a_cache_changes_nothing_but_how_often_is_read():
    plain, kept = store(), store(Cache(8, Made().specs(SIZE)))
    for epoch in range(3):
        assert all(same(plain[epoch, i], kept[epoch, i]) for i in range(8))
    assert kept.source.reads == 8 < plain.source.reads
    for i in range(8):  # what is kept was not written to
        assert torch.equal(kept.cache.get(i)[0], Made().read(i, SIZE)[0])


def test_a_batch_is_stacked_images_and_the_targets_together():
    images, targets = store().__getitems__([1, (0, 3)])
    assert images.shape == (2, 3, *SIZE) and images.dtype == torch.uint8 and type(images) is torch.Tensor
    assert [sorted(target) for target in targets] == [["boxes", "labels"]] * 2 and targets[0]["labels"].tolist() == [1]
    assert type(targets[0]["boxes"]) is torch.Tensor


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([3, 1], torch.tensor([3, 1])),
        ([tv_tensors.Mask(torch.zeros(2, 2, dtype=torch.uint8))] * 2, torch.zeros(2, 2, 2, dtype=torch.uint8)),
    ],
)
def test_numbers_and_masks_are_stacked_in_their_own_type(targets, expected):
    found = together(targets)
    assert torch.equal(found, expected) and found.dtype == expected.dtype and type(found) is torch.Tensor
