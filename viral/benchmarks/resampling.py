"""Had other questions been asked: scores on items drawn anew, whole clusters at a time, the same for every model.

Clusters are drawn with replacement from those whose items are of the same groups, so that a benchmark's groups keep
the sizes that they were given. Shape letters: B draws, R lists of replies, I items, K kinds of clusters.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from viral.benchmarks.base import Item, Verdict

Headline = Callable[[Sequence[Verdict]], float | None]


class Clusters:
    """Items by cluster, and clusters by stratum."""

    def __init__(self, items: Sequence[Item]) -> None:
        members: dict[str, list[int]] = {}
        for index, item in enumerate(items):
            members.setdefault(item.cluster, []).append(index)
        strata: dict[tuple[str, ...], list[list[int]]] = {}
        for indices in members.values():
            strata.setdefault(tuple(sorted(items[index].group for index in indices)), []).append(indices)
        self.strata = list(strata.values())

    def accuracies(self, rights_RI: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
        """Accuracy [B, R] in percent of each list of replies, from which of its items are right.

        Clusters with as many right answers in every list are of one kind, and counts of kinds are multinomial; so
        no item is drawn one by one.
        """
        sums = np.zeros((draws, len(rights_RI)))
        sizes = np.zeros(draws)
        for stratum in self.strata:
            kinds = Counter(
                (len(indices), *rights_RI[:, indices].sum(axis=1).tolist()) for indices in stratum
            )
            table = np.array(list(kinds), dtype=float)
            shares = np.array(list(kinds.values())) / len(stratum)
            counts_BK = rng.multinomial(len(stratum), shares, size=draws)
            sizes += counts_BK @ table[:, 0]
            sums += counts_BK @ table[:, 1:]
        return 100 * sums / sizes[:, None]

    def headlines(
        self,
        headline: Headline,
        verdicts: Sequence[Sequence[Verdict]],
        draws: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """A headline [B, R] of each list of verdicts, which are in the order of the items; NaN where undefined.

        The headline may be any function of verdicts. A cluster drawn twice comes in two clusters.
        """
        members = [indices for stratum in self.strata for indices in stratum]
        copies = [_Copies(side, members) for side in verdicts]
        sizes = [len(stratum) for stratum in self.strata]
        values = np.empty((draws, len(verdicts)))
        for draw in range(draws):
            times = np.concatenate(
                [np.bincount(rng.integers(size, size=size), minlength=size) for size in sizes]
            )
            (places,) = times.nonzero()
            drawn = list(zip(places.tolist(), times[places].tolist(), strict=True))
            for side, made in enumerate(copies):
                value = headline(list(chain.from_iterable(map(made.__getitem__, drawn))))
                values[draw, side] = np.nan if value is None else value
        return values


class _Copies(dict[tuple[int, int], list[Verdict]]):
    """(a cluster's place, how often it was drawn) -> its verdicts so often, each time under another cluster's name."""

    def __init__(self, verdicts: Sequence[Verdict], members: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self._verdicts, self._members = verdicts, members

    def __missing__(self, drawn: tuple[int, int]) -> list[Verdict]:
        place, times = drawn
        self[drawn] = [
            _renamed(self._verdicts[index], copy) for copy in range(times) for index in self._members[place]
        ]
        return self[drawn]


def _renamed(verdict: Verdict, copy: int) -> Verdict:
    if copy == 0:
        return verdict
    item = verdict.item
    return Verdict(replace(item, cluster=f"{item.cluster} drawn again, {copy}"), verdict.answer)
