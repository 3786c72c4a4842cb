"""Two sides on the same questions, one model each or several seeds: one row per score, with intervals and a test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipelines.evaluate import score
from pipelines.replies import REPLIES, read_settings
from viral.benchmarks import (
    BENCHMARKS,
    Benchmark,
    Item,
    Verdict,
    get_benchmark,
    get_profile,
    judge,
    load_items,
    read_replies,
)
from viral.benchmarks.base import Protocol
from viral.benchmarks.resampling import Clusters
from viral.benchmarks.stats import (
    SIGNIFICANCE,
    format_p,
    holm,
    mcnemar,
    over_seeds,
    percentile_interval,
    sign_p,
    wilson,
)
from viral.errors import ConfigError, DataError

HEADLINE = "headline"
ALL = "all items"
MCNEMAR, BOOTSTRAP = "McNemar", "bootstrap"
ITEM_DRAWS = 10_000
HEADLINE_DRAWS = 1_000
"""Fewer, for a headline can be any function and is called for every draw."""


@dataclass(frozen=True, slots=True)
class Side:
    """A score, the mean over seeds, and its 95 % interval."""

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One score of a benchmark on both sides: its headline, the accuracy on a group, or on all items.

    `delta` is other minus baseline, in the score's own unit, with its 95 % interval over items (and seeds, if there
    are several). `p_value` is that of McNemar's exact test for an accuracy of one seed, else the bootstrap's;
    `adjusted` that of a headline after Holm's correction for all headlines. `chance` is what guessing gives.
    """

    benchmark: str
    task: str
    total: int
    seeds: int
    chance: float | None
    maximum: float
    baseline: Side
    other: Side
    delta: float
    interval: tuple[float, float]
    p_value: float
    test: str
    adjusted: float | None = None

    @property
    def title(self) -> str:
        """The benchmark's name as people write it."""
        return get_benchmark(self.benchmark).title

    @property
    def significant(self) -> bool:
        """Whether 0 lies outside the interval, and the test rejects "no difference" at 5 %."""
        low, high = self.interval
        return not low <= 0 <= high and self.p_value < SIGNIFICANCE

    @property
    def verdict(self) -> str:
        """The difference in a word or two."""
        return "significant" if self.significant else "within noise"

    def statement(self, name: str = "difference") -> str:
        """The row as a sentence part."""
        low, high = self.interval
        test = format_p(self.p_value) + (
            f" (Holm {format_p(self.adjusted)})" if self.adjusted is not None else ""
        )
        return f"{name} {self.delta:+.1f} points [{low:+.1f}, {high:+.1f}], {test}, {self.verdict}"


def compare_runs(
    baselines: Sequence[Path],
    others: Sequence[Path],
    data_dir: Path,
    benchmarks: Sequence[str] | None = None,
    profile: str | None = None,
) -> list[Row]:
    """Rows of every benchmark, from output folders of `viral eval`: one per seed, the i-th of both sides a pair.

    Without `benchmarks` it takes those that all folders have; without a `profile`, that of the generation.

    Raises:
        UnknownNameError: no such benchmark or profile.
        ConfigError: another number of seeds on the two sides, one model twice among a side's seeds, several profiles,
            or nothing that all folders have.
        DataError: replies that are missing, damaged, incomplete, or of other data.
    """
    folders = [*baselines, *others]
    if not baselines or len(baselines) != len(others):
        raise ConfigError(
            f"{len(baselines)} baselines and {len(others)} others; give as many, one per training seed, in one order."
        )
    asked = dict.fromkeys(get_benchmark(name).name for name in benchmarks or ())
    names = list(asked or _shared(folders))
    rows: list[Row] = []
    for name in names:
        paths = [folder / name / REPLIES for folder in folders]
        profiles = {score(name, data_dir, path, profile=profile)["profile"] for path in paths}
        if len(profiles) > 1:
            raise ConfigError(
                f"Replies to {name} were made under the profiles {' and '.join(sorted(profiles))}; only differences "
                "inside one mean anything: evaluate again, or give --profile to score all by its rule."
            )
        for side in (paths[: len(baselines)], paths[len(baselines) :]):
            _require_distinct(side)
        rows += _rows(name, data_dir, paths[: len(baselines)], paths[len(baselines) :], profiles.pop())
    return with_holm(rows)


def compare_replies(
    benchmark: str, data_dir: Path, baseline: Path, other: Path, *, profile: str = "paper"
) -> list[Row]:
    """Rows of one benchmark, from two replies files.

    Raises:
        UnknownNameError: no such benchmark or profile.
        DataError: replies that are damaged, incomplete, or of other data.
    """
    return with_holm(_rows(benchmark, data_dir, [baseline], [other], profile))


def _shared(folders: Sequence[Path]) -> list[str]:
    if missing := [folder for folder in folders if not folder.is_dir()]:
        raise DataError(f"No folder {missing[0]}; give output folders of viral eval.")
    names = [name for name in BENCHMARKS if all((folder / name / REPLIES).is_file() for folder in folders)]
    if not names:
        raise ConfigError(
            f"No benchmark was answered in all of {', '.join(map(str, folders))}; give output folders of viral eval."
        )
    return names


def _require_distinct(paths: Sequence[Path]) -> None:
    """Refuse one model as if it were several seeds: its noise would look like none."""
    seen: dict[str, Path] = {}
    for path in paths:
        weights = (read_settings(path) or {}).get("weights")
        if weights and (twin := seen.setdefault(weights, path)) is not path:
            raise ConfigError(
                f"{twin.parent.parent} and {path.parent.parent} were made by the same weights; they are not two seeds."
            )


def _rows(
    name: str, data_dir: Path, baselines: Sequence[Path], others: Sequence[Path], profile: str
) -> list[Row]:
    spec = get_benchmark(name)
    items = load_items(spec, data_dir, profile)
    protocol = spec.protocols[get_profile(profile).name]
    sides = [judge(spec, items, read_replies(path), protocol.parse) for path in (*baselines, *others)]
    rights_RI = np.array([[verdict.correct for verdict in side] for side in sides])
    headline = _headline_row(spec, items, sides, protocol)
    groups = dict.fromkeys(item.group for item in items)
    members = {group: [i for i, item in enumerate(items) if item.group == group] for group in groups}
    tasks = (members if len(members) > 1 else {}) | {ALL: list(range(len(items)))}
    return [
        *([headline] if headline else []),
        *(
            accuracy_row(name, task, [items[i] for i in indices], rights_RI[:, indices])
            for task, indices in tasks.items()
        ),
    ]


def _headline_row(
    spec: Benchmark,
    items: Sequence[Item],
    sides: Sequence[Sequence[Verdict]],
    protocol: Protocol,
) -> Row | None:
    """None where the headline is not defined."""
    values = [protocol.headline(side) for side in sides]
    if None in values:
        return None
    rng = np.random.default_rng(0)
    draws_BR = Clusters(items).headlines(protocol.headline, sides, HEADLINE_DRAWS, rng)
    row = _row(spec.name, HEADLINE, len(items), np.array(values, dtype=float), draws_BR, rng)
    return replace(row, maximum=protocol.maximum)


def accuracy_row(benchmark: str, task: str, items: Sequence[Item], rights_RI: np.ndarray) -> Row:
    """A row of accuracies from which items [R, I] are right, the first half of the lists being the baseline's."""
    rng = np.random.default_rng(0)
    draws_BR = Clusters(items).accuracies(rights_RI, ITEM_DRAWS, rng)
    row = _row(benchmark, task, len(items), 100 * rights_RI.mean(axis=1), draws_BR, rng)
    row = replace(row, chance=100 * sum(item.chance for item in items) / len(items))
    if row.seeds > 1:
        return row
    before, after = rights_RI
    fixed, broken = int((after & ~before).sum()), int((before & ~after).sum())
    first, second = (
        replace(side, interval=_percent(wilson(int(rights.sum()), len(rights))))
        for side, rights in ((row.baseline, before), (row.other, after))
    )
    return replace(row, baseline=first, other=second, p_value=mcnemar(fixed, broken), test=MCNEMAR)


def _row(
    benchmark: str,
    task: str,
    total: int,
    values_R: np.ndarray,
    draws_BR: np.ndarray,
    rng: np.random.Generator,
) -> Row:
    """A row from scores and their draws, the first half of which are the baseline's."""
    seeds = len(values_R) // 2
    values, draws = values_R.reshape(2, seeds), draws_BR.reshape(-1, 2, seeds)
    baseline, other = (
        Side(float(values[side].mean()), percentile_interval(over_seeds(draws[:, side], values[side], rng)))
        for side in (0, 1)
    )
    deltas_B = over_seeds(draws[:, 1] - draws[:, 0], values[1] - values[0], rng)
    return Row(
        benchmark=benchmark,
        task=task,
        total=total,
        seeds=seeds,
        chance=None,
        maximum=100,
        baseline=baseline,
        other=other,
        delta=other.value - baseline.value,
        interval=percentile_interval(deltas_B),
        p_value=sign_p(deltas_B),
        test=BOOTSTRAP,
    )


def _percent(bounds: tuple[float, float]) -> tuple[float, float]:
    return 100 * bounds[0], 100 * bounds[1]


def with_holm(rows: Sequence[Row]) -> list[Row]:
    """The rows, each headline with its p-value adjusted for the number of headlines."""
    adjusted = iter(holm([row.p_value for row in rows if row.task == HEADLINE]))
    return [replace(row, adjusted=next(adjusted)) if row.task == HEADLINE else row for row in rows]
