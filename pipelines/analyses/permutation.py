"""Patch permutation (Table 3, Figure 7): does it matter to the model where in the picture things are?

The same questions are asked with the patches in order, as `viral eval` asks them, and shuffled with each seed. Replies
are kept like those of `viral eval`, in `<label>/original` and `<label>/seed-<n>`.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.analyses.figures import COLOURS, PAGE, SOFT, figure_style, new_figure
from pipelines.analyses.job import Analysis, Drawing, Findings, Job, Labelled
from pipelines.evaluate import describe, hash_weights
from pipelines.progress import bar
from pipelines.replies import REPLIES, ReplyLog, hash_files
from viral.benchmarks import Item, get_benchmark, get_profile, judge, load_items, prompt, read_replies
from viral.benchmarks.files import data_files, require_images
from viral.benchmarks.scoring import tally
from viral.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from viral.mllm.student import Student

ORIGINAL = "original"
SEEDS = (0, 1, 2)
LEAST_SEEDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class PermutationSettings:
    """One benchmark below `data`, and the seeds to shuffle with: at least three, for one says little."""

    data: Path
    profile: str
    benchmark: str = "cvbench"
    seeds: tuple[int, ...] = SEEDS

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < LEAST_SEEDS or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(
                f"--seeds {','.join(map(str, self.seeds))}; expected at least {LEAST_SEEDS} different numbers from 0."
            )

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        files = hash_files(data_files(get_benchmark(self.benchmark), self.data, self.profile))
        return {"benchmark": self.benchmark, "data": files, "seeds": list(self.seeds)}

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
    items = settings.items()
    require_images(items)
    made = describe(get_benchmark(settings.benchmark), settings.data, settings.profile)
    made |= {"model": model.path, "weights": hash_weights(model.path), "dtype": job.dtype}
    logs: dict[int | None, ReplyLog] = {
        None: ReplyLog(folder / ORIGINAL / settings.benchmark, made),
        **{
            seed: ReplyLog(folder / f"seed-{seed}" / settings.benchmark, made | {"permutation_seed": seed})
            for seed in settings.seeds
        },
    }
    unfinished = {seed: log for seed, log in logs.items() if len(log.answered) < len(items)}
    if unfinished:
        student = job.load(model)
        for seed, log in unfinished.items():
            _answer(student, job, items, log, seed, model.label)


def report(job: Job, folders: Mapping[str, Path]) -> Findings:
    """Right answers in order and shuffled, by model and task."""
    settings = job.settings
    assert isinstance(settings, PermutationSettings)
    items = settings.items()
    data = {label: _summary(folder, items, settings) for label, folder in folders.items()}
    with figure_style():
        figure = _draw(data)
    caption = (
        f"{get_benchmark(settings.benchmark).title}, profile {settings.profile}: right answers with the tower's patches "
        f"in order (filled) and shuffled with {len(settings.seeds)} seeds (open); line: chance."
    )
    return Findings(data, [Drawing(figure, caption)])


def _answer(
    student: "Student", job: Job, items: Sequence[Item], log: ReplyLog, seed: int | None, label: str
) -> None:
    from viral.analysis.permutation import permuted_patches
    from viral.mllm.generate import Question, generate

    settings = job.settings
    assert isinstance(settings, PermutationSettings)
    benchmark = get_benchmark(settings.benchmark)
    prompts = {item.id: prompt(benchmark, item, settings.profile) for item in items}
    asked = [Question(item.id, prompts[item.id], item.image) for item in items if item.id not in log.answered]
    name = f"{label}, in order" if seed is None else f"{label}, seed {seed}"
    order = nullcontext() if seed is None else permuted_patches(student, seed)
    with log, order, bar(len(items), name, True, len(log.answered), "item") as progress:
        for id_, reply in generate(
            student,
            asked,
            max_new_tokens=benchmark.protocols[settings.profile].max_new_tokens,
            image_mode=get_profile(settings.profile).image_mode,
            batch_size=job.batch_size,
        ):
            log.add(id_, reply, prompts[id_])
            progress.update()


def _summary(folder: Path, items: Sequence[Item], settings: PermutationSettings) -> dict[str, Any]:
    """Counts by task: in order, by seed, mean and range over seeds, and the drop in percent of the count in order."""
    ways = {ORIGINAL: ORIGINAL} | {str(seed): f"seed-{seed}" for seed in settings.seeds}
    spec = get_benchmark(settings.benchmark)
    parse = spec.protocols[settings.profile].parse
    verdicts = {
        way: judge(spec, items, read_replies(folder / name / settings.benchmark / REPLIES), parse)
        for way, name in ways.items()
    }
    summary = {}
    for task in [group for group in spec.counts if any(item.group == group for item in items)]:
        tallies = {way: tally([v for v in all_ if v.item.group == task]) for way, all_ in verdicts.items()}
        correct = {way: int(tallied["correct"]) for way, tallied in tallies.items()}
        in_order = correct.pop(ORIGINAL)
        summary[task] = {
            "total": tallies[ORIGINAL]["total"],
            "chance": tallies[ORIGINAL]["chance"],
            **drop(in_order, correct),
        }
    return summary


def drop(original: int, permuted: Mapping[str, int]) -> dict[str, Any]:
    """Mean and range of the right answers over seeds, and the drop relative to the right answers in order."""
    counts = list(permuted.values())
    mean = sum(counts) / len(counts)
    return {
        "original": original,
        "permuted": dict(permuted),
        "mean": mean,
        "range": [min(counts), max(counts)],
        "drop": original - mean,
        "drop_percent": 100 * (original - mean) / original if original else None,
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
    for place, summary in enumerate(summaries.values()):
        share = partial(lambda count, total: 100 * count / total, total=summary["total"])
        colour = COLOURS[place % len(COLOURS)]
        low, high = map(share, summary["range"])
        axes.plot([low, share(summary["original"])], [place, place], color=colour, lw=0.8, zorder=1)
        shuffled = [share(count) for count in summary["permuted"].values()]
        axes.scatter(shuffled, [place] * len(shuffled), s=26, facecolor="white", edgecolor=colour, zorder=2)
        axes.scatter([share(summary["original"])], [place], s=34, color=colour, zorder=3)
        relative = summary["drop_percent"]
        note = "" if relative is None else f"drop {relative:.1f} %"
        axes.annotate(
            note, (max(share(summary["original"]), high), place), xytext=(7, 0), textcoords="offset points", va="center",
            fontsize=7, color=SOFT,
        )  # fmt: skip
    first = next(iter(summaries.values()))
    if first["chance"] is not None:
        axes.axvline(first["chance"], color=SOFT, lw=0.8, ls=":", zorder=0)
    axes.set(title=f"{task} ({first['total']} questions)", xlabel="right answers (%)")
    axes.set_yticks(range(len(summaries)), list(summaries))
    axes.set_ylim(len(summaries) - 0.5, -0.5)
    axes.margins(x=0.28)
    axes.grid(axis="x")


PERMUTATION = Analysis(name="permutation", title="Patch permutation", measure=measure, report=report)
