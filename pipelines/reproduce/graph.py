"""From a target to its steps, in an order in which every step finds what it needs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipelines.reproduce.paper import PaperRow
from pipelines.reproduce.place import Place
from pipelines.reproduce.runs import Run
from pipelines.reproduce.scales import NoCounterpartError, Scale
from pipelines.reproduce.steps import (
    Step,
    analysis_step,
    cache_step,
    eval_step,
    export_step,
    pretrain_step,
    train_step,
    world_step,
)
from pipelines.reproduce.targets import BASELINE, RELEASE, Analysis, Target
from viral.errors import ConfigError, UnknownNameError


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is to be reproduced, and how."""

    target: Target
    scale: Scale
    place: Place
    profile: str
    seeds: int = 1
    with_release: bool = False
    only: tuple[str, ...] = ()
    """Recipes of the rows that are wanted; none means all. Baselines of these come along."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ConfigError(f"--seeds {self.seeds} trains nothing; give a number of at least 1.")
        known = [row.recipe for row in self.target.rows]
        if not known and (self.seeds > 1 or self.with_release or self.only):
            raise ConfigError(
                f"{self.target.name} has no table of scores; leave --seeds, --with-release and --only out."
            )
        for name in self.only:
            if name not in known:
                raise UnknownNameError(f"row of {self.target.name}", name, known)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row of the paper's table with its runs, one for each seed; `printed` is None for what the paper has not."""

    labels: tuple[str, ...]
    runs: tuple[Run, ...]
    baselines: tuple[Run, ...]
    printed: PaperRow | None

    @property
    def is_baseline(self) -> bool:
        """Whether it is what others are compared with."""
        return self.runs == self.baselines


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One analysis with the runs that it has at this scale."""

    analysis: Analysis
    folder: str
    profile: str
    runs: tuple[Run, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """All of a reproduction: rows, analyses, what has been left out and why, and the steps."""

    rows: tuple[Row, ...]
    jobs: tuple[Job, ...]
    left_out: tuple[str, ...]
    benchmarks: tuple[str, ...]
    """Asked, or looked into by an analysis."""
    steps: tuple[Step, ...]

    @property
    def all_runs(self) -> list[Run]:
        """Every run of stage two, each once."""
        return _all_runs(self.rows, self.jobs)


def plan_graph(request: Request) -> Graph:
    """Everything that a request needs, nothing of it done.

    Raises:
        ConfigError: nothing is left at this scale.
    """
    rows, without = _rows(request)
    jobs, unable = _jobs(request)
    left_out = _by_reason({**without, **unable})
    if not rows and not jobs:
        raise ConfigError(
            f"{request.target.name} has nothing to run at scale {request.scale.name}: {'; '.join(left_out)}."
        )
    steps = tuple(_steps(request, rows, jobs))
    benchmarks = dict.fromkeys(
        [*request.target.benchmarks, *(name for job in jobs for name in job.analysis.needs)]
    )
    return Graph(rows=rows, jobs=jobs, left_out=left_out, benchmarks=tuple(benchmarks), steps=steps)


def _by_reason(left_out: Mapping[str, str]) -> tuple[str, ...]:
    """Recipes that share a reason in one sentence."""
    reasons: dict[str, list[str]] = {}
    for recipe, reason in left_out.items():
        reasons.setdefault(reason, []).append(recipe)
    return tuple(f"{', '.join(recipes)}: {reason}" for reason, recipes in reasons.items())


def _rows(request: Request) -> tuple[tuple[Row, ...], dict[str, str]]:
    """Rows, and why others are left out, by recipe."""
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    seen: dict[tuple[str, str], str] = {}
    for labels, printed, recipe, baseline in _wanted(request):
        try:
            run, reference = request.scale.run_of(recipe), request.scale.run_of(baseline)
        except NoCounterpartError as reason:
            left_out[recipe] = str(reason)
            continue
        same = run.recipe, str(sorted(run.settings.items(), key=str))
        if seen.setdefault(same, recipe) != recipe:
            left_out[recipe] = f"the same run as {seen[same]} at this scale"
            continue
        rows.append(
            Row(
                labels=labels,
                runs=_seeded(run, request.seeds),
                baselines=_seeded(reference, request.seeds),
                printed=printed,
            )
        )
    return tuple(rows), left_out


def _wanted(request: Request) -> Iterator[tuple[tuple[str, ...], PaperRow | None, str, str]]:
    """Labels, printed row, recipe and baseline of each row."""
    printed = request.target.rows
    kept = {row.recipe for row in printed if not request.only or row.recipe in request.only}
    kept |= {row.baseline for row in printed if row.recipe in kept}
    for row in printed:
        if row.recipe in kept:
            yield row.labels, row, row.recipe, row.baseline
    if request.with_release and BASELINE in kept:
        yield ("release",), None, RELEASE, BASELINE


def _seeded(run: Run, seeds: int) -> tuple[Run, ...]:
    """The run as its recipe has it, then with the seeds that follow."""
    first = run.config.seed
    return (run, *(run.seeded(first + index) for index in range(1, seeds)))


def _jobs(request: Request) -> tuple[tuple[Job, ...], dict[str, str]]:
    """Analyses, and why runs of theirs are left out, by recipe."""
    jobs: list[Job] = []
    left_out: dict[str, str] = {}
    for index, analysis in enumerate(request.target.analyses):
        runs: dict[str, Run] = {}
        for recipe in analysis.recipes:
            try:
                run = request.scale.run_of(recipe)
            except NoCounterpartError as reason:
                left_out[recipe] = str(reason)
            else:
                runs[run.name] = run
        if runs and (len(runs) > 1 or not analysis.along):
            profile = analysis.profile or request.profile
            folder = f"{request.target.name}-{index + 1}-{analysis.name}-{profile}"
            jobs.append(Job(analysis=analysis, folder=folder, profile=profile, runs=tuple(runs.values())))
    return tuple(jobs), left_out


def _steps(request: Request, rows: Sequence[Row], jobs: Sequence[Job]) -> Iterator[Step]:
    place, scale, seen = request.place, request.scale, set[str]()
    asked = {run.name for row in rows for run in row.runs}
    kept = {run.cache for job in jobs if job.analysis.shows_teachers for run in job.runs}
    runs = _all_runs(rows, jobs)
    steps = [world_step(place)] if scale.draws_world else []
    for run in runs:
        if cache := run.cache:
            users = [train_step(user, place) for user in runs if user.cache == cache]
            steps.append(cache_step(cache, run, place, scale, None if cache in kept else users))
        if run.stage_one:
            steps.append(pretrain_step(run.stage_one, place))
        steps.append(train_step(run, place))
        if run.is_exportable:
            steps.append(export_step(run, place))
        if run.name in asked:
            steps.append(eval_step(run, place, scale, request.target.benchmarks, request.profile))
    steps += [analysis_step(job.analysis, job.folder, job.runs, place, scale, job.profile) for job in jobs]
    for step in steps:
        if step.name not in seen:
            seen.add(step.name)
            yield step


def _all_runs(rows: Sequence[Row], jobs: Sequence[Job]) -> list[Run]:
    runs = [run for row in rows for run in row.runs] + [run for job in jobs for run in job.runs]
    return list({run.name: run for run in runs}.values())
