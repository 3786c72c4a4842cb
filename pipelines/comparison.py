"""Two models on the same questions: one row per task, with intervals and a paired test."""

from dataclasses import dataclass
from pathlib import Path

from viral.benchmarks import Verdict, get_benchmark, get_profile, judge, load_items, read_replies
from viral.benchmarks.scoring import tally
from viral.benchmarks.stats import Comparison, compare


@dataclass(frozen=True, slots=True)
class Row:
    """One task of one benchmark, or all its items: percentages of both models and their paired comparison."""

    benchmark: str
    task: str
    chance: float
    baseline: float
    baseline_interval: tuple[float, float]
    viral: float
    viral_interval: tuple[float, float]
    comparison: Comparison


ALL = "all items"


def compare_replies(
    benchmark: str, data_dir: Path, baseline: Path, viral: Path, *, profile: str = "paper"
) -> list[Row]:
    """Rows for every task and for all items of a benchmark, from two replies files.

    Raises:
        UnknownNameError: no such benchmark or profile.
        DataError: replies that are damaged, incomplete, or of other data.
    """
    spec = get_benchmark(benchmark)
    items = load_items(spec, data_dir, profile)
    parse = spec.protocols[get_profile(profile).name].parse
    first, second = (judge(spec, items, read_replies(path), parse) for path in (baseline, viral))
    groups = [group for group in spec.counts if any(item.group == group for item in items)]
    rows = []
    for group in [*groups, ALL]:
        sides = [
            [verdict for verdict in side if group in (verdict.item.group, ALL)] for side in (first, second)
        ]
        rows.append(_row(spec.title, group, *sides))
    return rows


def _row(title: str, task: str, baseline: list[Verdict], viral: list[Verdict]) -> Row:
    before, after = tally(baseline), tally(viral)
    rights = [{verdict.item.id: verdict.correct for verdict in side} for side in (baseline, viral)]
    return Row(
        benchmark=title,
        task=task,
        chance=before["chance"],
        baseline=before["accuracy"],
        baseline_interval=tuple(before["interval"]),
        viral=after["accuracy"],
        viral_interval=tuple(after["interval"]),
        comparison=compare(*rights),
    )
