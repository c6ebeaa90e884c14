"""SimOTA on a map of 4 x 4 cells of 10 pixels, by hand."""

import torch

from engine.inputs.boxes import cell_centres
from project.ops import assignment
from project.ops.assignment import Objects, assign_cells, pad_objects

CENTRES, STRIDES = cell_centres([(4, 4)], [10], torch.zeros(1))


def assigned(boxes, targets, classes=None, objectness=None):
    """Return each cell's object and overlap as 4 x 4 maps, for one image; all cells predict the same class scores."""
    boxes = boxes.view(1, 16, 4)
    classes = torch.zeros(1, 16, 2) if classes is None else classes
    objectness = torch.zeros(1, 16) if objectness is None else objectness
    objects = pad_objects(targets, boxes)
    number, overlap = assign_cells(boxes, objectness, classes, CENTRES, STRIDES, objects)
    return number.view(4, 4), overlap.view(4, 4)


def target(*boxes, labels=None):
    return {"boxes": torch.tensor(boxes).float().view(-1, 4), "labels": torch.tensor(labels or [0] * len(boxes)).long()}


def squares(half):
    """Each cell predicts a square around its centre, `half` pixels to each side."""
    return torch.cat([CENTRES - half, CENTRES + half], dim=1)


def test_an_object_whose_cells_overlap_it_little_gets_the_nearest_one():
    """One box on the cell at row 1, column 2, which predicts it exactly; its best overlaps add up to less than 2."""
    number, overlap = assigned(squares(5.0), [target([20, 10, 30, 20])])
    assert (number >= 0).nonzero().tolist() == [[1, 2]] and overlap[1, 2] == 1


def test_an_object_gets_as_many_cells_as_its_overlaps_add_up_to():
    """A box of 20 x 20 around row 1, column 1: the cell overlaps fully, its four neighbours by 1/3, the corners by 1/7.

    1 + 4 / 3 + 4 / 7 = 2.9, so two cells: the middle one, and one of its neighbours.
    """
    number, overlap = assigned(squares(10.0), [target([5, 5, 25, 25])])
    chosen = (number >= 0).nonzero().tolist()
    assert len(chosen) == 2 and [1, 1] in chosen
    torch.testing.assert_close(sorted(overlap[number >= 0].tolist()), [1 / 3, 1.0])


def test_a_cell_far_from_the_middle_does_not_answer_however_well_its_box_fits():
    boxes = squares(1.0)
    boxes[15] = torch.tensor([0.0, 0, 10, 10])  # the cell in the far corner predicts the object in the near one
    number, _ = assigned(boxes, [target([0, 0, 10, 10])])
    assert number[3, 3] == -1 and (number >= 0).any()


def test_a_cell_wanted_by_two_objects_answers_for_the_one_of_its_class():
    same = [[0, 0, 10, 10], [0, 0, 10, 10]]
    classes = torch.tensor([-4.0, 4.0]).expand(1, 16, 2)  # every cell is sure of class 1
    boxes = torch.tensor([0.0, 0, 10, 10]).expand(16, 4).clone()
    number, _ = assigned(boxes, [target(*same, labels=[0, 1])], classes)
    assert set(number[number >= 0].tolist()) == {1}


def test_an_image_without_objects_has_no_answering_cell_whatever_stands_beside_it():
    boxes = torch.cat([squares(5.0)[None], squares(5.0)[None]])
    objects = pad_objects([target(), target([20, 10, 30, 20])], boxes)
    number, overlap = assign_cells(boxes, torch.zeros(2, 16), torch.zeros(2, 16, 2), CENTRES, STRIDES, objects)
    assert (number[0] == -1).all() and (overlap[0] == 0).all()
    alone, _ = assigned(squares(5.0), [target([20, 10, 30, 20])])
    assert torch.equal(number[1].view(4, 4), alone)


def test_objects_that_only_fill_up_make_no_cell_a_candidate():
    """The cell at the image's corner, where those that fill up lie, predicts the object far away from it exactly."""
    boxes = squares(1.0)
    boxes[10] = boxes[0] = torch.tensor([20.0, 20, 30, 30])
    both = torch.stack([boxes, boxes])
    objects = pad_objects([target([0, 0, 9, 9], [20, 0, 29, 9]), target([20, 20, 30, 30])], both)
    number, _ = assign_cells(both, torch.zeros(2, 16), torch.zeros(2, 16, 2), CENTRES, STRIDES, objects)
    assert (number[1] >= 0).nonzero().flatten().tolist() == [10]


def test_an_object_outside_the_image_gets_no_cell():
    number, _ = assigned(squares(5.0), [target([200, 200, 220, 220])])
    assert (number == -1).all()


def test_objects_are_filled_up_to_the_most_of_an_image():
    objects = pad_objects([target(), target([0, 0, 1, 1], [1, 1, 2, 2], labels=[1, 0])], torch.zeros(1))
    assert isinstance(objects, Objects) and objects.boxes.shape == (2, 2, 4)
    assert objects.real.tolist() == [[False, False], [True, True]] and objects.labels.tolist() == [[0, 0], [1, 0]]


def test_a_batch_with_a_crowded_image_is_assigned_one_image_at_a_time_with_the_same_result(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    corners = 30 * torch.rand(3, 16, 2, generator=generator)
    boxes = torch.cat([corners, corners + 1 + 12 * torch.rand(3, 16, 2, generator=generator)], dim=2)
    classes, objectness = torch.randn(3, 16, 2, generator=generator), torch.randn(3, 16, generator=generator)
    crowd = [[x, y, x + 9.0, y + 8.0] for x in range(0, 30, 3) for y in range(0, 30, 4)]
    objects = pad_objects([target(), target(*crowd), target([4, 4, 20, 30], [0, 0, 9, 9], labels=[1, 0])], boxes)
    arguments = boxes, objectness, classes, CENTRES, STRIDES, objects
    together = assign_cells(*arguments)
    monkeypatch.setattr(assignment, "MAX_PAIRS", 100)
    shapes = []
    paired = assignment.paired_iou
    monkeypatch.setattr(assignment, "paired_iou", lambda a, b: shapes.append(a.shape[:2]) or paired(a, b))
    apart = assign_cells(*arguments)
    assert shapes == [(1, 1), (1, len(crowd)), (1, 2)]
    assert all(torch.equal(a, b) for a, b in zip(together, apart, strict=True))
