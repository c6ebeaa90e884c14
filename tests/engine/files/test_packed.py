import tracemalloc

import pytest
import torch

from engine.files.packed import Rows, Strings


def test_text_comes_back_as_it_was_also_what_is_no_text():
    texts = ["a b.jpg", "", "é/ü 中.png", "broken \udcff.jpg"]
    table = Strings(texts)
    assert len(table) == 4 and list(table) == texts and table[2] == texts[2]
    for index in (4, -1):
        with pytest.raises(IndexError, match=f"there is no text {index} among 4"):
            table[index]
    assert list(Strings([])) == []


def test_rows_belong_to_their_entries():
    rows = Rows([[(1, 2), (3, 4)], [], [(5, 6)]], columns=2)
    assert len(rows) == 3 and [rows[i].tolist() for i in range(3)] == [[[1, 2], [3, 4]], [], [[5, 6]]]
    assert rows[1].shape == (0, 2)
    assert Rows([[], []], columns=5)[1].shape == (0, 5) and len(Rows([], columns=5)) == 0


def test_a_subset_and_another_numbering_leave_the_rows_as_they_were():
    rows = Rows([[(1, 2), (3, 0)], [], [(5, 1)]], columns=2)
    assert [rows.subset([2, 0])[i].tolist() for i in range(2)] == [[[5, 1]], [[1, 2], [3, 0]]]
    assert rows.with_column(1, torch.tensor([7, 8, 9]))[0].tolist() == [[1, 9], [3, 7]]
    assert rows[0].tolist() == [[1, 2], [3, 0]]
    assert len(Rows([[]], columns=2).with_column(1, torch.tensor([], dtype=torch.int64))) == 1


def test_a_hundred_thousand_names_take_little_more_than_their_letters():
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        names = Strings(f"class {i % 10}/image_{i:06}.jpg" for i in range(100_000))
        boxes = Rows([[(0, 0, 1, 1, 2)]] * 100_000, columns=5)
        taken = tracemalloc.get_traced_memory()[0] - before + boxes.values.nbytes  # torch's own is not traced
    finally:
        tracemalloc.stop()
    assert len(names) == len(boxes) == 100_000
    assert taken < 7e6  # 2.4 of letters, 2.0 of boxes, 0.8 twice for where each ends
