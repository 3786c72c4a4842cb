"""Order of samples: complete, modality-pure, balanced, a function of seed and step alone."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viral.data.sampler import GROUPINGS, SampleOrder
from viral.errors import ConfigError, UnknownNameError


@st.composite
def orders(draw, groupings=tuple(GROUPINGS)):
    micro = draw(st.integers(1, 4))
    global_batch = micro * draw(st.integers(1, 4))
    num = draw(st.integers(global_batch, 90))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths, has_image = rng.integers(1, 500, num), rng.random(num) < draw(st.sampled_from([0, 0.1, 0.5, 1]))
    return order(lengths, has_image, global_batch, micro, grouping=draw(st.sampled_from(groupings)))


def order(lengths, has_image, global_batch, micro, seed=1, **settings) -> SampleOrder:
    return SampleOrder(
        np.asarray(lengths),
        np.asarray(has_image),
        global_batch=global_batch,
        micro_batch=micro,
        seed=seed,
        **settings,
    )


@settings(max_examples=50, deadline=None)
@given(orders(), st.integers(0, 5))
def test_an_epoch_takes_each_sample_at_most_once_and_wastes_less_than_a_batch(samples, epoch):
    steps = samples.steps_per_epoch
    dealt = np.stack([samples.step(epoch * steps + step) for step in range(steps)])
    num_micro = samples.global_batch // samples.micro_batch
    assert dealt.shape == (len(samples.length_N) // samples.global_batch, num_micro, samples.micro_batch)
    assert len(set(dealt.flatten().tolist())) == dealt.size
    assert 0 <= len(samples.length_N) - dealt.size < samples.global_batch


@settings(max_examples=50, deadline=None)
@given(orders(("modality_length",)))
def test_only_leftover_batches_mix_modalities(samples):
    images = int(samples.image_N.sum())
    pure = images // samples.global_batch + (len(samples.image_N) - images) // samples.global_batch
    flags = samples.image_N[samples.epoch(0)]
    assert all(row.all() or not row.any() for row in flags[:pure])


@settings(max_examples=50, deadline=None)
@given(orders(), st.integers(1, 7))
def test_resuming_gives_the_same_batches(samples, skip):
    last = 2 * samples.steps_per_epoch + 1
    skip = min(skip, last)
    num_micro = samples.global_batch // samples.micro_batch
    everything = list(samples.micro_batches(0, last))
    assert everything[skip * num_micro :] == list(samples.micro_batches(skip, last))


@settings(max_examples=50, deadline=None)
@given(orders(), st.data())
def test_any_number_of_ranks_shares_the_same_steps_without_overlap(samples, data):
    num_micro = samples.global_batch // samples.micro_batch
    world = data.draw(st.sampled_from([size for size in range(1, num_micro + 1) if num_micro % size == 0]))
    last = samples.steps_per_epoch + 1
    ranks = [list(samples.micro_batches(0, last, rank, world)) for rank in range(world)]
    together = list(chain.from_iterable(zip(*ranks, strict=True)))
    assert together == list(samples.micro_batches(0, last))


@settings(max_examples=50, deadline=None)
@given(orders())
def test_steps_may_be_asked_for_in_any_order(samples):
    last = 2 * samples.steps_per_epoch
    forward = [samples.step(step).tolist() for step in range(last)]
    assert [samples.step(step).tolist() for step in reversed(range(last))] == forward[::-1]


def test_micro_batches_have_similar_total_length_where_asked_for():
    lengths = np.random.default_rng(0).integers(1, 400, 256)

    def spread(grouping):
        samples = order(lengths, [True] * 256, 64, 8, grouping=grouping)
        totals = lengths[np.stack([samples.step(step) for step in range(4)])].sum(-1)
        return (totals.max(1) / totals.min(1)).max()

    assert spread("modality_length") < 1.15
    assert spread("length") < 1.15
    assert spread("none") > 1.3


def test_a_micro_batch_that_is_full_takes_no_more():
    """Two short micro-batches stay shortest when they are full; the rest goes to those that have room."""
    samples = order([9, 1, 1, 8], [True] * 4, 4, 2, grouping="length")
    assert samples.step(0).tolist() in ([[0, 1], [3, 2]], [[0, 2], [3, 1]])


def test_epochs_and_seeds_differ():
    epochs = {
        tuple(order([1] * 40, [True] * 40, 8, 8, seed).epoch(epoch).flatten())
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(epochs) == 4


def test_full_data_gives_the_papers_steps_an_epoch():
    samples = order([1] * 665_298, [True] * 624_610 + [False] * 40_688, 128, 16)
    assert samples.steps_per_epoch == 5197
    assert samples.epoch(0).shape == (5197, 128)
    assert samples.step(5196).shape == (8, 16)


def test_the_order_of_the_first_version_stays():
    """A run that was started then resumes with the batches it would have seen."""
    samples = order([5, 3, 8, 1, 9, 2, 7, 4, 6, 5], [True] * 6 + [False] * 4, 4, 2, seed=3)
    assert [samples.step(step).tolist() for step in range(2)] == [[[6, 7], [8, 9]], [[4, 5], [2, 1]]]


def test_mistakes_name_the_setting():
    with pytest.raises(ConfigError, match=r"lower data.batch_size"):
        order([1] * 3, [True] * 3, 4, 2)
    with pytest.raises(UnknownNameError, match="Known: length, modality_length, none"):
        order([1] * 4, [True] * 4, 4, 2, grouping="size")
