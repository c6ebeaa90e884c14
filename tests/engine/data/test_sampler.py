import itertools

import pytest

from engine.data.sampler import EpochBatchSampler, mix


def epoch(sampler, number=0):
    sampler.set_epoch(number)
    return list(sampler)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("num_samples", [3, 10, 97])
def test_every_index_once_an_epoch_in_equally_many_nearly_equal_batches(num_samples, world_size):
    samplers = [EpochBatchSampler(num_samples, 4, True, 7, rank, world_size) for rank in range(world_size)]
    batches = [epoch(sampler) for sampler in samplers]
    assert {len(own) for own in batches} == {len(samplers[0])}
    assert sorted(i for own in batches for batch in own for i in batch) == list(range(num_samples))
    sizes = [len(batch) for own in batches for batch in own]
    assert max(sizes) - min(sizes) <= 1 and (max(sizes) <= 4 or num_samples // world_size < len(sizes))


def test_order_is_a_function_of_seed_and_epoch():
    first, again = (EpochBatchSampler(50, 8, True, seed=3) for _ in range(2))
    assert epoch(first, 5) == epoch(again, 5)
    assert epoch(first, 5) != epoch(first, 6)
    assert epoch(first, 5) != epoch(EpochBatchSampler(50, 8, True, seed=4), 5)


@pytest.mark.parametrize("num_samples", [48, 50, 97])
def test_the_images_of_a_step_do_not_depend_on_the_number_of_processes(num_samples):
    one = epoch(EpochBatchSampler(num_samples, 12, True, 0))
    for world_size in (2, 3, 4):
        shares = [
            EpochBatchSampler(num_samples, 12 // world_size, True, 0, rank, world_size) for rank in range(world_size)
        ]
        for share in shares:
            share.skip_once(1)  # as in an epoch begun by one process
        assert one[1:] == [[*itertools.chain(*own)] for own in zip(*map(epoch, shares), strict=True)]


def test_the_order_of_one_process_stays_so_that_old_runs_go_on():
    assert epoch(EpochBatchSampler(7, 3, True, 5), 2) == [[1, 3, 0], [2, 4], [5, 6]]


def test_without_shuffling_the_order_is_the_natural_one():
    assert epoch(EpochBatchSampler(7, 3), 2) == [[0, 1, 2], [3, 4], [5, 6]]


def test_skipping_leaves_out_the_first_batches_once():
    sampler = EpochBatchSampler(40, 8, True, 1)
    whole = epoch(sampler, 2)
    sampler.skip_once(3)
    assert epoch(sampler, 2) == whole[3:]
    assert len(sampler) == 5
    assert epoch(sampler, 2) == whole


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="batch_size must be 1 or more, got 0"):
        EpochBatchSampler(10, 0)
    with pytest.raises(ValueError, match="2 images cannot be split among 3 processes"):
        EpochBatchSampler(2, 1, world_size=3)


def test_mixed_seeds_of_near_numbers_are_far_apart_and_fit_torch():
    seeds = {mix(a, b) for a in range(30) for b in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert mix(1, 2) != mix(2, 1)
