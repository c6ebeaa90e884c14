import itertools

import pytest
import torch

from engine.inputs.tiles import Tile, blended, joined_boxes, tiles_of


@pytest.mark.parametrize("size", [(10, 10), (11, 30), (4, 25), (3, 2), (37, 10)])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5, 0.99])
def test_tiles_cover_a_picture_in_equal_parts_that_overlap_enough(size, overlap):
    tiles = list(tiles_of(size, 10, overlap))
    assert {(tile.high, tile.wide) for tile in tiles} == {(min(10, size[0]), min(10, size[1]))}
    seen = torch.zeros(size)
    for top, left, high, wide in tiles:
        assert top >= 0 and left >= 0 and top + high <= size[0] and left + wide <= size[1]
        seen[top : top + high, left : left + wide] += 1
    assert seen.min() == 1
    assert len(set(tiles)) == len(tiles) == len({tile.top for tile in tiles}) * len({tile.left for tile in tiles})
    for starts, side in zip(zip(*[tile[:2] for tile in tiles], strict=True), tiles[0][2:], strict=True):
        each = sorted(set(starts))
        assert all(b - a <= max(1, side * (1 - overlap)) for a, b in itertools.pairwise(each))


def test_a_picture_no_larger_than_a_tile_is_one():
    assert list(tiles_of((5, 7), 7, 0.5)) == [Tile(0, 0, 5, 7)]


@pytest.mark.parametrize("size", [(23, 31), (8, 40), (5, 5)])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.7])
def test_tiles_of_a_picture_are_blended_into_it_again(size, overlap):
    whole = torch.randn(3, *size, generator=torch.Generator().manual_seed(0))
    tiles = [
        (tile, whole[:, tile.top : tile.top + tile.high, tile.left : tile.left + tile.wide])
        for tile in tiles_of(size, 8, overlap)
    ]
    bands = list(blended(tiles, size[1]))
    assert max(band.shape[1] for band in bands) <= 8
    assert torch.equal(torch.cat(bands, dim=1), whole)


def test_the_seam_of_two_tiles_is_a_slope():
    tiles = [(Tile(0, 0, 1, 8), torch.zeros(1, 1, 8)), (Tile(0, 4, 1, 8), torch.ones(1, 1, 8))]
    (row,) = blended(tiles, 12)
    torch.testing.assert_close(row[0, 0], torch.tensor([0.0] * 4 + [0.125, 0.375, 0.625, 0.875] + [1.0] * 4))


LEFT, RIGHT = [0.0, 0, 100, 100], [80.0, 0, 180, 100]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # Whole in the left tile, cut by the right one, which is surer: once, with the whole box.
        ([(LEFT, [60, 10, 90, 40], 0.6, 0), (RIGHT, [80, 12, 91, 40], 0.9, 0)], [[60, 10, 90, 40]]),
        # A sliver that agrees badly with the whole object.
        ([(LEFT, [50, 10, 84, 40], 0.6, 0), (RIGHT, [80, 20, 86, 30], 0.9, 0)], [[50, 10, 84, 40]]),
        # Whole in both: the surer one.
        ([(LEFT, [84, 10, 96, 40], 0.6, 0), (RIGHT, [85, 11, 96, 41], 0.9, 0)], [[85, 11, 96, 41]]),
        # Larger than the overlap, cut by both: the box around both parts.
        ([(LEFT, [60, 10, 100, 40], 0.6, 0), (RIGHT, [80, 12, 130, 41], 0.9, 0)], [[60, 10, 130, 41]]),
        # Two cut objects of which neither is seen by the other tile where it should be.
        (
            [(LEFT, [60, 10, 100, 40], 0.6, 0), (RIGHT, [80, 60, 130, 90], 0.9, 0)],
            [[80, 60, 130, 90], [60, 10, 100, 40]],
        ),
        # Two classes, and two objects of one tile, are two objects.
        (
            [(LEFT, [84, 10, 96, 40], 0.6, 0), (RIGHT, [84, 10, 96, 40], 0.9, 1)],
            [[84, 10, 96, 40], [84, 10, 96, 40]],
        ),
        (
            [(LEFT, [20, 10, 50, 40], 0.6, 0), (LEFT, [22, 10, 54, 40], 0.9, 0)],
            [[22, 10, 54, 40], [20, 10, 50, 40]],
        ),
        # At the picture's own border nothing is cut.
        ([(LEFT, [0, 0, 20, 100], 0.6, 0), (LEFT, [30, 0, 50, 60], 0.9, 0)], [[30, 0, 50, 60], [0, 0, 20, 100]]),
    ],
)
def test_objects_of_two_tiles_are_found_once(found, expected):
    tiles, boxes, scores, labels = (torch.tensor(part) for part in zip(*found, strict=True))
    kept, sure, _ = joined_boxes(boxes.float(), scores, labels, tiles, (100, 180))
    assert kept.tolist() == expected and sure.tolist() == sorted(sure.tolist(), reverse=True)


def test_an_object_across_four_tiles_and_one_across_three_are_joined():
    tiles = [[x, y, x + 100.0, y + 100] for y in (0.0, 80) for x in (0.0, 80, 160)]
    across = [[40.0, 50, 140, 150], [10.0, 5, 250, 30]]
    found = []
    for tile in tiles:
        for box in across:
            cut = [max(box[0], tile[0]), max(box[1], tile[1]), min(box[2], tile[2]), min(box[3], tile[3])]
            if cut[0] < cut[2] and cut[1] < cut[3]:
                found.append((tile, cut))
    places, boxes = (torch.tensor(part) for part in zip(*found, strict=True))
    kept, _, _ = joined_boxes(boxes, torch.rand(len(boxes)), torch.zeros(len(boxes)).long(), places, (180, 260))
    assert sorted(kept.tolist()) == sorted(across)


def test_no_boxes_are_none():
    nothing = torch.zeros(0, 4)
    kept = joined_boxes(nothing, torch.zeros(0), torch.zeros(0).long(), nothing, (9, 9))
    assert [len(part) for part in kept] == [0, 0, 0]
