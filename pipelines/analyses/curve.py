"""Training efficiency (Figure 6): the mean score of benchmarks after every saved step, against converged baselines.

Each checkpoint is evaluated as by `viral eval`, into `<label>/step-<n>`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.analyses.figures import COLOURS, figure_style, line, new_figure
from pipelines.analyses.job import Analysis, Drawing, Findings, Job, Labelled
from pipelines.analyses.questions import digest_items
from pipelines.evaluate import evaluate
from pipelines.replies import REPLIES, read_settings
from pipelines.training.checkpoint import complete_checkpoints
from pipelines.training.folder import CHECKPOINTS, CONFIG
from viral.benchmarks import get_benchmark, judge, load_items, read_replies
from viral.errors import ConfigError, DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BENCHMARKS = ("cvbench", "mmvp")
_STEP = re.compile(r"step-(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class CurveSettings:
    """Whose headlines are averaged, below `data`.

    `baselines` are models or runs of which only the last state counts; `evals` are folders that `viral eval` wrote:
    one of each step in `step-<n>/`, or one for a state that counts like a baseline.
    """

    data: Path
    profile: str
    benchmarks: tuple[str, ...] = BENCHMARKS
    baselines: tuple[Labelled, ...] = ()
    evals: tuple[Labelled, ...] = ()

    def __post_init__(self) -> None:
        if not self.benchmarks:
            raise ConfigError("No benchmark whose headline could be drawn; give --benchmarks cvbench,mmvp.")
        names = tuple(get_benchmark(name).name for name in self.benchmarks)  # folders are named so
        object.__setattr__(self, "benchmarks", names)

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "benchmarks": {
                name: digest_items(load_items(get_benchmark(name), self.data, self.profile))
                for name in self.benchmarks
            },
            "baselines": [entry.label for entry in self.baselines],
            "evals": {
                entry.label: {
                    step: [_weights(folder, name) for name in self.benchmarks]
                    for step, folder in _evaluated(Path(entry.path)).items()
                }
                for entry in self.evals
            },
        }


def measure(job: Job, model: Labelled, folder: Path) -> None:
    """Evaluate what has not been: every checkpoint of a run, the last state of a baseline, nothing of `evals`."""
    settings = job.settings
    assert isinstance(settings, CurveSettings)
    if model in settings.evals:
        return
    if model in settings.baselines:
        _evaluate(job, settings, model.path, folder)
        return
    for name in _checkpoints(model):
        _evaluate(job, settings, f"{model.path}/{CHECKPOINTS}/{name}", folder / name)


def report(job: Job, folders: Mapping[str, Path]) -> Findings:
    """Mean headline by step for each run, and of each baseline."""
    settings = job.settings
    assert isinstance(settings, CurveSettings)
    given = {entry.label: Path(entry.path) for entry in settings.evals}
    data = {
        label: [_point(step, folder, settings) for step, folder in _evaluated(path).items()]
        for label, path in {**folders, **given}.items()
    }
    titles = " and ".join(get_benchmark(name).title for name in settings.benchmarks)
    with figure_style():
        figure = _draw(data, f"mean of {titles}")
    caption = (
        f"Mean of the headline scores on {titles}, profile {settings.profile}, after each saved training step. Dashed: "
        "final baselines. One run each: how much of a difference is chance, viral compare tells."
    )
    return Findings(data, [Drawing(figure, caption)])


def _checkpoints(run: Labelled) -> list[str]:
    folder = Path(run.path)
    names = complete_checkpoints(folder / CHECKPOINTS)
    if not (folder / CONFIG).is_file() or not names:
        raise ConfigError(
            f"{run.path} is no training run with checkpoints, so there is no curve to draw; a single model goes to "
            "--baseline, folders of viral eval to --evals."
        )
    return names


def _evaluate(job: Job, settings: CurveSettings, model: str, out: Path) -> None:
    evaluate(
        model,
        settings.benchmarks,
        settings.data,
        out,
        profile=settings.profile,
        batch_size=job.batch_size,
        device=job.device,
    )


def _evaluated(folder: Path) -> dict[int | None, Path]:
    """Folders of `viral eval` by training step; by None if there is one that belongs to no step.

    Raises:
        DataError: there is none.
    """
    steps = {int(match[1]): path for path in folder.glob("step-*") if (match := _STEP.fullmatch(path.name))}
    if steps:
        return dict(sorted(steps.items()))
    if not any(folder.glob(f"*/{REPLIES}")):
        raise DataError(
            f"{folder} holds no replies of viral eval, and no step-<n> folders with such; see --evals."
        )
    return {None: folder}


def _weights(folder: Path, benchmark: str) -> str | None:
    return (read_settings(folder / benchmark / REPLIES) or {}).get("weights")


def _point(step: int | None, folder: Path, settings: CurveSettings) -> dict[str, Any]:
    scores = {name: _headline(folder, name, settings) for name in settings.benchmarks}
    known = [score for score in scores.values() if score is not None]
    mean = sum(known) / len(known) if len(known) == len(scores) else None
    return {"step": step, "scores": scores, "mean": mean}


def _headline(folder: Path, name: str, settings: CurveSettings) -> float | None:
    benchmark = get_benchmark(name)
    protocol = benchmark.protocols[settings.profile]
    items = load_items(benchmark, settings.data, settings.profile)
    return protocol.headline(judge(benchmark, items, read_replies(folder / name / REPLIES), protocol.parse))


def _draw(data: Mapping[str, Sequence[Mapping[str, Any]]], ylabel: str) -> "Figure":
    figure = new_figure(4.6, 2.9)
    axes = figure.subplots()
    known = {label: [p for p in points if p["mean"] is not None] for label, points in data.items()}
    single = {label: points for label, points in known.items() if points and points[0]["step"] is None}
    # As in the paper a run and its baseline share a colour: the first of one kind and the first of the other.
    runs = {label: points for label, points in known.items() if points and label not in single}
    for place, (label, points) in enumerate(runs.items(), start=1):
        steps, means = [point["step"] for point in points], [point["mean"] for point in points]
        line(axes, steps, means, place, label, dashes="-")
    for place, (label, points) in enumerate(single.items(), start=1):
        axes.axhline(points[0]["mean"], label=label, lw=1.2, ls="--", color=COLOURS[place % len(COLOURS)])
    axes.set(xlabel="training step", ylabel=ylabel)
    axes.grid(axis="y")
    axes.legend()
    return figure


CURVE = Analysis(name="curve", title="Training efficiency", measure=measure, report=report, parts=False)
