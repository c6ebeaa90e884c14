import pytest
import torch
from torchvision import tv_tensors

from engine.data.augment import GREY, RandomZoom, Varied, join_four, keep_seen, objects
from engine.inputs.letterbox import IGNORE

SIZE = (48, 40)
COLOURS = torch.tensor([[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 0]], dtype=torch.uint8)


def painted(index, colour=None):
    """An image with a block of a colour of its own on black, the block's box, and its colour as the label."""
    colour = index % 4 if colour is None else colour
    generator = torch.Generator().manual_seed(index)
    draw = torch.rand(4, generator=generator).tolist()
    width, height = 14 + round(12 * draw[0]), 14 + round(12 * draw[1])
    left, top = round((SIZE[1] - width) * draw[2]), round((SIZE[0] - height) * draw[3])
    image = torch.zeros(3, *SIZE, dtype=torch.uint8)
    image[:, top : top + height, left : left + width] = COLOURS[colour][:, None, None]
    box = torch.tensor([[left, top, left + width, top + height]], dtype=torch.float32)
    return tv_tensors.Image(image), objects(box, torch.tensor([colour]), SIZE)


def masked(index):
    image, _ = painted(index)
    mask = torch.zeros(SIZE, dtype=torch.uint8)
    mask[image.amax(dim=0) > 0] = 1
    return image, tv_tensors.Mask(mask)


def bounds(image, colour):
    """Where a colour shows, as xyxy."""
    near = (image.int() - colour.int()[:, None, None]).abs().amax(dim=0) < 125
    rows, columns = near.any(dim=1).nonzero().flatten(), near.any(dim=0).nonzero().flatten()
    return torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()


def vary(varied, index, epoch=0, sample=painted):
    torch.manual_seed(1000 * epoch + index)
    return varied(sample, index, epoch)


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_boxes_stay_on_their_objects(mosaic):
    varied = Varied(SIZE, zoom=0.5, flip=True, mosaic=mosaic, num=4)
    seen = 0
    for index in range(40):
        colours = iter(range(4))  # each of a mosaic's images has a colour of its own, also where one is there twice
        image, target = vary(varied, index, sample=lambda i, colours=colours: painted(i, next(colours)))
        for box, label in zip(target["boxes"], target["labels"], strict=True):
            torch.testing.assert_close(box.as_subclass(torch.Tensor), bounds(image, COLOURS[label]), atol=1, rtol=0)
            seen += 1
    assert seen >= 40 * (1 + mosaic)


def test_flipping_mirrors_image_boxes_and_mask_together():
    flipped = [vary(Varied(SIZE, flip=True), 1, epoch) for epoch in range(20)]
    image, target = painted(1)
    x0, y0, x1, y1 = target["boxes"][0].tolist()
    assert {tuple(found["boxes"][0].tolist()) for _, found in flipped} == {(x0, y0, x1, y1), (40 - x1, y0, 40 - x0, y1)}
    for seen, found in flipped:
        mirrored = found["boxes"][0, 0] != x0
        assert torch.equal(seen, image.flip(-1) if mirrored else image)
    for epoch in range(20):
        seen, mask = vary(Varied(SIZE, flip=True), 1, epoch, masked)
        assert torch.equal(mask.bool(), seen.amax(dim=0) > 0)


def test_masks_are_zoomed_with_their_image_and_have_no_class_around_it():
    for index in range(20):
        image, mask = vary(Varied(SIZE, zoom=1.0, flip=True), index, sample=masked)
        assert set(mask.unique().tolist()) <= {0, 1, IGNORE} and mask.dtype == torch.uint8
        around = (image == GREY).all(dim=0)
        assert (around == (mask == IGNORE)).float().mean() > 0.93  # all but where the border was smoothed
        block = image.amax(dim=0) > 180
        assert ((mask == 1) == block)[mask != IGNORE].float().mean() > 0.9


def test_a_zoomed_mask_has_at_each_pixel_the_class_at_its_centre():
    zoom, edge = RandomZoom((60, 50), 0.5, 2.0), 37
    mask = torch.zeros(80, 70, dtype=torch.uint8)
    mask[:, edge:] = 1
    torch.manual_seed(0)
    for _ in range(20):
        part = zoom.part_of((80, 70))
        centres = part.left + (torch.arange(50) + 0.5) * part.wide / 50
        expected = (centres >= edge).to(torch.uint8)
        expected[(centres < 0) | (centres >= 70)] = IGNORE
        inside = 30 if part.top < 0 else 0  # a row of the image itself
        assert torch.equal(zoom.show(tv_tensors.Mask(mask), part)[inside], expected)


def test_pairs_move_together_and_keep_what_belongs_to_the_target():
    def pair(index):
        image, _ = painted(index)
        return image, tv_tensors.Image(255 - image)

    for index in range(10):
        source, target = vary(Varied(SIZE, zoom=0.2, flip=True), index, sample=pair)
        off = (source.int() + target.int() - 255).abs()
        assert off.max() <= 255 - 2 * GREY + 1 and (off <= 1).float().mean() > 0.5  # around them both are grey


def test_four_images_become_one_of_twice_the_sides():
    image, target = join_four([painted(i) for i in range(4)])
    assert image.shape == (3, 96, 80)
    assert torch.equal(image[:, 48:, :40], painted(2)[0]) and target["labels"].tolist() == [0, 1, 2, 3]
    for i, (top, left) in enumerate([(0, 0), (0, 40), (48, 0), (48, 40)]):
        assert torch.equal(target["boxes"][i], painted(i)[1]["boxes"][0] + torch.tensor([left, top, left, top]))
        torch.testing.assert_close(target["boxes"][i].as_subclass(torch.Tensor), bounds(image, COLOURS[i]))


def test_a_mosaic_of_images_without_objects_has_none():
    nothing = objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), SIZE)
    empty = tv_tensors.Image(torch.zeros(3, *SIZE, dtype=torch.uint8)), nothing
    image, target = vary(Varied(SIZE, zoom=0.2, mosaic=1.0, num=1), 0, sample=lambda index: empty)
    assert image.shape == (3, *SIZE) and target["boxes"].shape == (0, 4) and target["labels"].dtype == torch.int64


def test_mosaics_are_over_after_their_epochs():
    read = []

    def sample(index):
        read.append(index)
        return painted(index)

    for epoch in range(4):
        vary(Varied(SIZE, mosaic=1.0, mosaic_epochs=2, num=4), 0, epoch, sample)
        vary(Varied(SIZE, mosaic=1.0, mosaic_epochs=1.7, num=4), 0, epoch, sample)
    assert len(read) == 8 + 8 + 2 + 2


def test_boxes_of_which_too_little_is_left_are_dropped_and_others_are_cut_off():
    boxes = torch.tensor([[-5.0, 0, 5, 10], [-17, 0, 3, 10], [10, 10, 20, 20], [0, 0, 1.5, 10], [50, 50, 60, 60]])
    whole = torch.tensor([100.0, 200, 100, 15, 100])
    kept = keep_seen(boxes, torch.arange(5), whole, (48, 40))
    assert kept["boxes"].tolist() == [[0, 0, 5, 10], [10, 10, 20, 20]] and kept["labels"].tolist() == [0, 2]


@pytest.mark.parametrize("size", [(48, 40), (30, 64)])
def test_a_zoom_shows_a_part_or_the_whole_with_grey_around(size):
    zoom = RandomZoom(size, 0.5, 2.0)
    torch.manual_seed(0)
    for _ in range(50):
        top, left, high, wide = zoom.part_of((100, 200))
        assert 50 <= high <= 200 and 100 <= wide <= 400 and abs(wide - 2 * high) <= 1
        assert min(0, 100 - high) <= top <= max(0, 100 - high) and min(0, 200 - wide) <= left <= max(0, 200 - wide)
    white = tv_tensors.Image(torch.full((3, 100, 200), 255, dtype=torch.uint8))
    from_afar = zoom.show(white, (-50, -100, 200, 400))
    assert from_afar.shape == (3, *size)
    assert (from_afar[:, 0] == GREY).all() and (from_afar[:, size[0] // 2, size[1] // 2] == 255).all()
