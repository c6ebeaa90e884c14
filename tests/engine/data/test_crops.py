import torch
from torchvision import tv_tensors

from engine.data.augment import GREY, RandomZoom, Varied, objects
from engine.data.crops import OwnSize, TileStore
from engine.inputs.letterbox import IGNORE

SIZES = [(50, 70), (30, 64), (20, 100), (10, 12)]


class Pictures:
    """A source of pictures of different sizes whose pixels are numbered, with a mask of the same numbers, or a box."""

    def __init__(self, boxed=False):
        self.boxed = boxed
        self.reads = 0

    def __len__(self):
        return len(SIZES)

    def read(self, index, size):
        self.reads += 1
        return [torch.arange(size[0] * size[1]).view(1, *size).remainder(251).to(torch.uint8)]

    def sample(self, index, planes, size):
        assert planes[0].shape[1:] == size == SIZES[index]
        target = tv_tensors.Mask(planes[0][0])
        if self.boxed:
            target = objects(torch.tensor([[2.0, 3, 12, 9]]), torch.tensor([index]), size)
        return tv_tensors.Image(planes[0]), target


def own_size(**options):
    return OwnSize(Pictures(**options), SIZES.__getitem__)


def test_tiles_show_every_pixel_of_every_picture_and_each_is_read_once():
    source = own_size()
    store = TileStore(source, (24, 24), 24)
    assert len(store) == 3 * 3 + 2 * 3 + 1 * 5 + 1
    seen = [torch.zeros(size, dtype=torch.bool) for size in SIZES]
    for (number, part), (image, mask) in zip(store.places, map(store.read, range(len(store))), strict=True):
        assert image.shape == (1, 24, 24) and mask.shape == (24, 24)
        known = mask != IGNORE
        assert torch.equal(image[0][known], mask[known]) and (image[0][~known] == GREY).all()
        whole = torch.arange(SIZES[number][0] * SIZES[number][1]).view(SIZES[number]).remainder(251).to(torch.uint8)
        rows, columns = (slice(max(0, start), start + 24) for start in part[:2])
        assert torch.equal(mask[known], whole[rows, columns].flatten())
        seen[number][rows, columns] = True
    assert all(part.all() for part in seen) and source.source.reads == len(SIZES)


def test_a_tile_of_another_size_than_the_network_takes_is_scaled_to_it_with_its_boxes():
    image, target = TileStore(own_size(boxed=True), (12, 12), 24).read(0)
    assert image.shape == (1, 12, 12) and target["boxes"].tolist() == [[1, 1.5, 6, 4.5]]


def test_crops_are_parts_at_full_resolution():
    varied = Varied((24, 24), crop=(24, 24))
    source = own_size()
    places = set()
    for seed in range(30):
        torch.manual_seed(seed)
        image, mask = varied(lambda index: source.sample(index, source.read(index, None), None), 0, 0)
        assert torch.equal(image[0], mask) and image.shape == (1, 24, 24)
        assert (mask.int().diff(dim=1).remainder(251) == 1).all()
        places.add(int(mask[0, 0]))
    assert len(places) > 20


def test_half_of_the_crops_are_drawn_to_an_object_and_lie_within_the_picture():
    zoom = RandomZoom((20, 20), 0.8, 1.25, base=(20, 20))
    torch.manual_seed(0)
    boxes = torch.tensor([[980.0, 10, 990, 16]])
    hits = 0
    for _ in range(400):
        top, left, high, wide = zoom.part_of((600, 1000), boxes)
        assert 16 <= high <= 25 and 0 <= top <= 600 - high and 0 <= left <= 1000 - wide
        hits += top <= 13 <= top + high and left <= 985 <= left + wide
    assert 160 < hits < 240
    assert zoom.part_of((10, 1000)).top <= 0


def test_mosaics_join_crops():
    varied = Varied((24, 24), crop=(24, 24), mosaic=1.0, num=4)
    source = own_size(boxed=True)
    for seed in range(20):
        torch.manual_seed(seed)
        image, target = varied(lambda index: source.sample(index, source.read(index, None), None), 0, 0)
        assert image.shape == (1, 24, 24) and target["boxes"].shape[1] == 4
