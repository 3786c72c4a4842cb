"""Patch permutation (Table 3, Figure 7): does it matter to the model where in the picture things are?

The same questions are asked with the patches in order, as `viral eval` asks them, and shuffled with each seed. Replies
are kept like those of `viral eval`, in `<label>/original` and `<label>/seed-<n>`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.analyses.figures import COLOURS, PAGE, SOFT, figure_style, new_figure
from pipelines.analyses.job import Analysis, Drawing, Findings, Job, Labelled
from pipelines.analyses.questions import digest_items
from pipelines.evaluate import generate_replies
from pipelines.progress import bar
from pipelines.replies import REPLIES, ReplyLog, read_settings
from viral.analysis.bootstrap import mean_band
from viral.benchmarks import Item, get_benchmark, get_profile, judge, load_items, prompt, read_replies
from viral.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from viral.mllm.student import Student

ORIGINAL = "original"
SEEDS = (0, 1, 2)
LEAST_SEEDS = 3
LEAST_SPAN = 20.0
"""Width of the axis in percentage points, below which a handful of answers would look like a lot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PermutationSettings:
    """One benchmark below `data`, and the seeds to shuffle with: at least three, for one says little."""

    data: Path
    profile: str
    benchmark: str = "cvbench"
    seeds: tuple[int, ...] = SEEDS

    def __post_init__(self) -> None:
        object.__setattr__(self, "benchmark", get_benchmark(self.benchmark).name)  # folders are named so
        if not LEAST_SEEDS <= len(set(self.seeds)) == len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(
                f"--seeds {','.join(map(str, self.seeds))}; expected at least {LEAST_SEEDS} different numbers from 0."
            )

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "benchmark": self.benchmark,
            "data": digest_items(self.items()),
            "seeds": list(self.seeds),
        }

    def items(self) -> list[Item]:
        """The benchmark's items.

        Raises:
            UnknownNameError, DataError: see `load_items`.
        """
        return load_items(get_benchmark(self.benchmark), self.data, self.profile)


def measure(job: Job, model: Labelled, folder: Path) -> None:
    """Replies to all questions, in order and for each seed."""
    settings = job.settings
    assert isinstance(settings, PermutationSettings)
    name = settings.benchmark
    in_order = generate_replies(
        model.path,
        [name],
        settings.data,
        folder / ORIGINAL,
        profile=settings.profile,
        batch_size=job.batch_size,
        device=job.device,
    )[name]
    items, made = settings.items(), read_settings(in_order)
    assert made is not None
    logs = {
        seed: ReplyLog(folder / f"seed-{seed}" / name, made | {"permutation_seed": seed})
        for seed in settings.seeds
    }
    unfinished = {seed: log for seed, log in logs.items() if len(log.answered) < len(items)}
    if unfinished:
        student = job.load(model, tiles=True)
        for seed, log in unfinished.items():
            _answer(student, job, items, log, seed, model.label, made["template"])


def report(job: Job, folders: Mapping[str, Path]) -> Findings:
    """Right answers in order and shuffled, by model and task."""
    settings = job.settings
    assert isinstance(settings, PermutationSettings)
    items = settings.items()
    data = {label: _summary(folder, items, settings) for label, folder in folders.items()}
    with figure_style():
        figure = _draw(data)
    caption = (
        f"{get_benchmark(settings.benchmark).title}, profile {settings.profile}: right answers with the patches "
        f"in order (filled) and shuffled with {len(settings.seeds)} seeds (open); dotted: chance. Beside: change in "
        "right answers, mean over seeds, with its 95 % bootstrap interval over questions."
    )
    return Findings(data, [Drawing(figure, caption)])


def _answer(
    student: "Student", job: Job, items: Sequence[Item], log: ReplyLog, seed: int, label: str, template: str
) -> None:
    from viral.analysis.permutation import permuted_patches
    from viral.mllm.generate import Question, generate

    settings = job.settings
    assert isinstance(settings, PermutationSettings)
    benchmark = get_benchmark(settings.benchmark)
    prompts = {item.id: prompt(benchmark, item, settings.profile, template) for item in items}
    asked = [Question(item.id, prompts[item.id], item.image) for item in items if item.id not in log.answered]
    shown = bar(len(items), f"{label}, seed {seed}", True, len(log.answered), "item")
    with log, permuted_patches(student, seed), shown:
        for id_, reply in generate(
            student,
            asked,
            max_new_tokens=benchmark.protocols[settings.profile].max_new_tokens,
            image_mode=get_profile(settings.profile).image_mode,
            batch_size=job.batch_size,
        ):
            log.add(id_, benchmark.kept(reply), prompts[id_])
            shown.update()


def _summary(folder: Path, items: Sequence[Item], settings: PermutationSettings) -> dict[str, Any]:
    """See `change`, by task."""
    ways = {ORIGINAL: ORIGINAL} | {str(seed): f"seed-{seed}" for seed in settings.seeds}
    spec = get_benchmark(settings.benchmark)
    parse = spec.protocols[settings.profile].parse
    verdicts = {
        way: judge(spec, items, read_replies(folder / name / settings.benchmark / REPLIES), parse)
        for way, name in ways.items()
    }
    right = {way: np.array([v.correct for v in of_way]) for way, of_way in verdicts.items()}
    summary = {}
    for task in [group for group in spec.counts if any(item.group == group for item in items)]:
        members = np.array([item.group == task for item in items])
        chances = [item.chance for item in items if item.group == task]
        correct = {way: right_N[members] for way, right_N in right.items()}
        in_order = correct.pop(ORIGINAL)
        summary[task] = {
            "total": len(chances),
            "chance_percent": 100 * math.fsum(chances) / len(chances),
            **change(in_order, correct),
        }
    return summary


def change(in_order_N: np.ndarray, permuted: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Right answers [N] in order against shuffled ones by seed: counts, mean and range over seeds, and the change.

    `change` is shuffled minus in order, with a 95 % bootstrap interval over questions; `change_percent` is relative to
    the count in order, as in Table 3.
    """
    original = int(in_order_N.sum())
    counts = {seed: int(right_N.sum()) for seed, right_N in permuted.items()}
    differences_N = np.mean([right_N.astype(float) - in_order_N for right_N in permuted.values()], axis=0)
    low, high = mean_band(differences_N[:, None])
    total, mean = len(in_order_N), sum(counts.values()) / len(counts)
    return {
        "original": original,
        "permuted": counts,
        "mean": mean,
        "range": [min(counts.values()), max(counts.values())],
        "change": mean - original,
        "change_interval": [total * float(low[0]), total * float(high[0])],
        "change_percent": 100 * (mean - original) / original if original else None,
    }


def _draw(data: Mapping[str, dict[str, Any]]) -> "Figure":
    tasks = list(next(iter(data.values())))
    figure = new_figure(min(PAGE, 3.4 * len(tasks)), 0.9 + 0.42 * len(data))
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        _draw_task(axes, task, {label: summary[task] for label, summary in data.items()})
        if task != tasks[0]:
            axes.set_yticklabels([])
    return figure


def _draw_task(axes: "Axes", task: str, summaries: Mapping[str, dict[str, Any]]) -> None:
    first = next(iter(summaries.values()))
    scale = 100 / first["total"]
    for place, summary in enumerate(summaries.values()):
        colour = COLOURS[place % len(COLOURS)]
        original, shuffled = scale * summary["original"], [scale * n for n in summary["permuted"].values()]
        axes.plot([min(shuffled), original], [place, place], color=colour, lw=0.8, zorder=1)
        axes.scatter(shuffled, [place] * len(shuffled), s=26, facecolor="white", edgecolor=colour, zorder=2)
        axes.scatter([original], [place], s=34, color=colour, zorder=3)
        low, high = summary["change_interval"]
        note = f"{summary['change']:+.1f} [{low:+.0f}, {high:+.0f}]".replace("-", "\u2212")
        axes.annotate(
            note,
            (max(original, *shuffled), place),
            (7, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    axes.axvline(first["chance_percent"], color=SOFT, lw=0.8, ls=":", zorder=0)
    middle = sum(axes.get_xlim()) / 2
    reach = max(LEAST_SPAN, float(np.ptp(axes.get_xlim())) * 1.6) / 2
    axes.set_xlim(middle - 0.8 * reach, middle + 1.2 * reach)  # room for the notes
    axes.set(title=f"{task} ({first['total']} questions)", xlabel="right answers (%)")
    axes.set_yticks(range(len(summaries)), list(summaries))
    axes.set_ylim(len(summaries) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=6)
    axes.grid(axis="x")


PERMUTATION = Analysis(
    name="permutation", title="Patch permutation", measure=measure, report=report, parts=False
)
