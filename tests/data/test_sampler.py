"""Order of samples: complete, modality-pure, balanced, a function of seed and step alone."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viral.data.sampler import epoch_order, micro_batches
from viral.errors import ConfigError


@st.composite
def worlds(draw):
    micro = draw(st.integers(1, 4))
    global_batch = micro * draw(st.integers(1, 4))
    num = draw(st.integers(global_batch, 90))
    lengths = draw(st.lists(st.integers(1, 500), min_size=num, max_size=num))
    has_image = draw(st.lists(st.booleans(), min_size=num, max_size=num))
    return lengths, has_image, global_batch, micro


@given(worlds(), st.integers(0, 5))
def test_an_epoch_takes_each_sample_at_most_once_and_wastes_less_than_a_batch(world, epoch):
    lengths, has_image, global_batch, micro = world
    order = epoch_order(lengths, has_image, global_batch, micro, seed=1, epoch=epoch)
    assert order.shape == (len(lengths) // global_batch, global_batch // micro, micro)
    assert len(set(order.flatten().tolist())) == order.size


@given(worlds())
def test_only_leftover_batches_mix_modalities(world):
    lengths, has_image, global_batch, micro = world
    order = epoch_order(lengths, has_image, global_batch, micro, seed=1, epoch=0)
    images = sum(has_image)
    pure = images // global_batch + (len(lengths) - images) // global_batch
    flags = np.asarray(has_image)[order].reshape(len(order), -1)
    assert all(row.all() or not row.any() for row in flags[:pure])


@given(worlds(), st.integers(1, 7))
def test_resuming_gives_the_same_batches(world, skip):
    lengths, has_image, global_batch, micro = world
    last = 2 * (len(lengths) // global_batch) + 1

    def run(first):
        return list(
            micro_batches(
                lengths,
                has_image,
                global_batch=global_batch,
                micro_batch=micro,
                seed=3,
                first_step=first,
                last_step=last,
            )
        )

    skip = min(skip, last)
    assert run(0)[skip * (global_batch // micro) :] == run(skip)


def test_ranks_share_a_global_batch_without_overlap():
    lengths, has_image = list(range(1, 33)), [True] * 32

    def rank(index, world_size):
        return list(
            micro_batches(
                lengths, has_image, global_batch=16, micro_batch=4, seed=0, first_step=0, last_step=2,
                rank=index, world_size=world_size,
            )
        )  # fmt: skip

    both = sorted(chain.from_iterable(rank(0, 2) + rank(1, 2)))
    assert both == sorted(chain.from_iterable(rank(0, 1))) == list(range(32))


def test_micro_batches_have_similar_total_length():
    lengths = np.random.default_rng(0).integers(1, 400, 256)
    order = epoch_order(lengths, [True] * 256, 64, 8, seed=0, epoch=0)
    totals = lengths[order].sum(-1)
    assert (totals.max(1) / totals.min(1)).max() < 1.15


def test_epochs_and_seeds_differ():
    orders = {
        tuple(epoch_order([1] * 40, [True] * 40, 8, 8, seed, epoch).flatten())
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(orders) == 4


def test_full_data_gives_the_papers_steps_an_epoch():
    order = epoch_order([1] * 665_298, [True] * 624_610 + [False] * 40_688, 128, 16, 0, 0)
    assert order.shape == (5197, 8, 16)


def test_too_few_samples_name_the_setting():
    with pytest.raises(ConfigError, match=r"lower data.batch_size"):
        epoch_order([1] * 3, [True] * 3, 4, 4, 0, 0)
