"""Items drawn anew: against drawing them one by one, against closed forms, and how often intervals hold the truth."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viral.benchmarks import Item, Verdict
from viral.benchmarks.base import accuracy
from viral.benchmarks.resampling import Clusters
from viral.benchmarks.stats import over_seeds, percentile_interval


def item(index: int, group: str = "g", cluster: str = "") -> Item:
    return Item(
        id=str(index), group=group, image=Path(), question="", answer="a", options=("a", "b"), cluster=cluster
    )


def verdicts(items, rights) -> list[Verdict]:
    return [Verdict(each, "a" if right else None) for each, right in zip(items, rights, strict=True)]


def draw_one_by_one(clusters, rights_RI, draws: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        drawn = [
            index
            for stratum in clusters.strata
            for place in rng.integers(len(stratum), size=len(stratum))
            for index in stratum[place]
        ]
        found.append(100 * rights_RI[:, drawn].mean(axis=1))
    return np.array(found)


def test_an_item_is_its_own_cluster_unless_it_says_otherwise():
    assert item(3).cluster == "3"
    assert item(3, cluster="pair 2").cluster == "pair 2"
    clusters = Clusters(
        [
            item(0, "a", "x"),
            item(1, "b", "x"),
            item(2, "a"),
            item(3, "a"),
            item(4, "b", "y"),
            item(5, "a", "y"),
        ]
    )
    assert sorted(map(sorted, clusters.strata)) == [[[0, 1], [4, 5]], [[2], [3]]]


def test_accuracies_are_those_of_drawing_clusters_one_by_one():
    rng = np.random.default_rng(2)
    items = [item(i, "ab"[i % 3 == 0], f"c{i // 4}") for i in range(120)]
    ability = np.repeat(rng.random(30), 4)
    rights = rng.random((3, 120)) < ability
    clusters = Clusters(items)
    fast = clusters.accuracies(rights, 20_000, np.random.default_rng(0))
    slow = draw_one_by_one(clusters, rights, 4_000, 1)
    assert fast.mean(axis=0) == pytest.approx(slow.mean(axis=0), abs=0.3)
    assert fast.std(axis=0) == pytest.approx(slow.std(axis=0), rel=0.06)
    assert np.corrcoef(fast.T) == pytest.approx(np.corrcoef(slow.T), abs=0.06)


def test_without_clusters_the_spread_of_a_paired_difference_has_a_closed_form():
    marks = np.array([1] * 60 + [-1] * 30 + [0] * 110)
    before = marks == -1
    after = marks == 1
    draws = Clusters([item(i) for i in range(200)]).accuracies(
        np.array([before, after]), 40_000, np.random.default_rng(0)
    )
    assert (draws[:, 1] - draws[:, 0]).std() == pytest.approx(100 * marks.std() / 200**0.5, rel=0.02)


def test_groups_keep_their_sizes():
    items = [item(i, "easy") for i in range(50)] + [item(50 + i, "hard") for i in range(50)]
    rights = np.array([[True] * 50 + [False] * 50])
    assert set(Clusters(items).accuracies(rights, 100, np.random.default_rng(0)).ravel()) == {50.0}


def test_a_headline_that_is_an_accuracy_is_drawn_like_one():
    rng = np.random.default_rng(3)
    items = [item(i, cluster=f"c{i // 2}") for i in range(80)]
    rights = rng.random((2, 80)) < 0.7
    sides = [verdicts(items, side) for side in rights]
    clusters = Clusters(items)
    slow = clusters.headlines(accuracy, sides, 3_000, np.random.default_rng(1))
    fast = clusters.accuracies(rights, 20_000, np.random.default_rng(0))
    assert slow.mean(axis=0) == pytest.approx(fast.mean(axis=0), abs=0.4)
    assert slow.std(axis=0) == pytest.approx(fast.std(axis=0), rel=0.06)


def test_a_cluster_drawn_twice_comes_as_two_clusters():
    items = [item(i, cluster=f"pair {i // 2}") for i in range(40)]
    seen = []

    def headline(drawn) -> float:
        seen.append((len(drawn), set(Counter(verdict.item.cluster for verdict in drawn).values())))
        return float(len({verdict.item.cluster for verdict in drawn}))

    draws = Clusters(items).headlines(headline, [verdicts(items, [True] * 40)], 50, np.random.default_rng(0))
    assert set(draws.ravel()) == {20.0}
    assert all(entry == (40, {2}) for entry in seen)


def test_all_lists_are_drawn_alike_and_undefined_headlines_are_nan():
    items = [item(i) for i in range(30)]
    side = verdicts(items, [i % 3 == 0 for i in range(30)])
    draws = Clusters(items).headlines(accuracy, [side, side], 40, np.random.default_rng(0))
    assert np.array_equal(draws[:, 0], draws[:, 1])
    assert len(set(draws[:, 0])) > 3
    undefined = Clusters(items).headlines(lambda drawn: None, [side], 5, np.random.default_rng(0))
    assert np.isnan(undefined).all()


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(24)), rights=st.lists(st.booleans(), min_size=24, max_size=24))
def test_the_order_of_items_does_not_matter_for_the_spread(order, rights):
    items = [item(i, "ab"[i % 2], f"c{i // 4}") for i in range(24)]
    first = Clusters(items).accuracies(np.array([rights]), 400, np.random.default_rng(0))
    second = Clusters([items[i] for i in order]).accuracies(
        np.array([[rights[i] for i in order]]), 400, np.random.default_rng(0)
    )
    assert first.std() == pytest.approx(second.std(), abs=3.5)
    assert first.mean() == pytest.approx(second.mean(), abs=3.5)


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (3, 0.05)])
def test_intervals_hold_the_true_difference_about_as_often_as_they_say(seeds, spread):
    """Simulated: items of different difficulty in clusters, a method worth 3 points, seeds that differ by `spread`."""
    rng, items = np.random.default_rng(seeds), [item(i, cluster=f"c{i // 2}") for i in range(200)]
    clusters, true, held, rounds = Clusters(items), 0.03, 0, 120
    for _ in range(rounds):
        ability = np.repeat(rng.uniform(0.3, 0.8, 100), 2)
        before = rng.random((seeds, 200)) < ability + spread * rng.normal(size=(seeds, 1))
        after = rng.random((seeds, 200)) < ability + true + spread * rng.normal(size=(seeds, 1))
        rights = np.concatenate([before, after])
        draws = clusters.accuracies(rights, 400, rng).reshape(-1, 2, seeds)
        values = 100 * rights.mean(axis=1).reshape(2, seeds)
        low, high = percentile_interval(over_seeds(draws[:, 1] - draws[:, 0], values[1] - values[0], rng))
        held += low <= 100 * true <= high
    assert held / rounds >= 0.89
