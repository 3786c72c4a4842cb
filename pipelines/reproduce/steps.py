"""The public commands that a reproduction consists of; each can be run by hand."""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.reproduce import done
from pipelines.reproduce.place import Place
from pipelines.reproduce.runs import Cache, Run
from pipelines.reproduce.scales import Scale
from pipelines.reproduce.targets import Analysis
from pipelines.training.folder import CONFIG
from viral.teachers import get_teacher


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A command and what it leaves. Running it again goes on where it was stopped."""

    name: str
    words: tuple[str, ...]
    """Behind `viral`."""
    output: Path
    is_done: Callable[[], bool]
    is_training: bool = False
    """Whether it may run on several devices, under a launcher."""

    @property
    def command(self) -> tuple[str, ...]:
        """The words of now: a training run that has begun is resumed."""
        begun = self.is_training and (self.output / CONFIG).is_file()
        return (*self.words, "--resume") if begun else self.words

    def line(self, launcher: Sequence[str] = ()) -> str:
        """The command as one would type it."""
        prefix = launcher if self.is_training else ()
        return shlex.join([*prefix, "viral", *self.command])


def world_step(place: Place) -> Step:
    """Draw the micro-world."""
    from pipelines.microworld import world_is_drawn

    return Step(
        name="draw the micro-world",
        words=("microworld", "--out", str(place.world)),
        output=place.world,
        is_done=lambda: world_is_drawn(place.world),
    )


def cache_step(cache: Cache, run: Run, place: Place, scale: Scale, users: Sequence[Step] | None) -> Step:
    """Stage one: the teacher's features of a run's images.

    Once all its `users` are done the store may be gone; None: it has to stay.
    """
    annotations, images = place.data(run)
    out, hub = place.cache(cache), get_teacher(cache.vfm).hub
    options = {
        "--vfm": cache.vfm,
        "--profile": cache.profile,
        "--codec": cache.codec,
        "--data": annotations,
        "--images": images,
        "--out": out,
        "--batch-size": scale.cache_batch,
        "--weights": place.local.get(hub or ""),
    }
    return Step(
        name=f"cache {cache.name}",
        words=("cache", "build", *_options(options)),
        output=out,
        is_done=lambda: (
            done.cache_is_done(out, vfm=cache.vfm, profile=cache.profile, codec=cache.codec)
            or (not out.exists() and users is not None and all(step.is_done() for step in users))
        ),
    )


def pretrain_step(run: Run, place: Place) -> Step:
    """Stage one of a pair without a published projector."""
    out, config = place.run(run), place.config(run)
    return Step(
        name=f"pretrain {run.name}",
        words=("pretrain", "--recipe", run.recipe, "--output", str(out), *_settings(place.settings(run))),
        output=out,
        is_done=lambda: done.projector_is_done(out, config),
        is_training=True,
    )


def train_step(run: Run, place: Place) -> Step:
    """Stage two."""
    out, config = place.run(run), place.config(run)
    store = place.cache(run.cache) if run.cache else None
    return Step(
        name=f"train {run.name}",
        words=(
            "train", "--recipe", run.recipe, *_options({"--cache": store, "--output": out}),
            *_settings(place.settings(run)),
        ),
        output=out,
        is_done=lambda: done.run_is_done(out, config, store),
        is_training=True,
    )  # fmt: skip


def export_step(run: Run, place: Place) -> Step:
    """Plain weights."""
    source, out = place.run(run), place.model(run)
    return Step(
        name=f"export {run.name}",
        words=("export", *_options({"--run": source, "--out": out})),
        output=out,
        is_done=lambda: done.export_is_done(source, out),
    )


def eval_step(run: Run, place: Place, scale: Scale, benchmarks: Sequence[str], profile: str) -> Step:
    """Replies and scores."""
    model, out = place.model(run), place.replies(run, profile)
    options = {
        "--model": model,
        "--benchmarks": ",".join(benchmarks),
        "--data": place.benchmarks,
        "--output": out,
        "--profile": profile,
        "--batch-size": scale.eval_batch,
    }
    return Step(
        name=f"evaluate {run.name}",
        words=("eval", *_options(options)),
        output=out,
        is_done=lambda: done.eval_is_done(out, model, benchmarks, place.benchmarks, profile),
    )


def analysis_step(
    analysis: Analysis, folder: str, runs: Sequence[Run], place: Place, scale: Scale, profile: str
) -> Step:
    """Data and figures of one analysis; labels are the names of runs."""
    out = place.analysis(folder)
    models = {run.name: place.run(run) if analysis.along else place.model(run) for run in runs}
    flags = dict.fromkeys(models, "--model")
    if analysis.along:
        flags[runs[0].name] = "--baseline"
    named = [word for label, path in models.items() for word in (flags[label], f"{label}={path}")]
    caches = [
        f"{run.cache.name}={place.cache(run.cache)}" for run in runs if run.cache and analysis.shows_teachers
    ]
    shown = [word for cache in caches for word in ("--cache", cache)]
    options = {"--data": place.benchmarks, "--profile": profile, "--out": out}
    words = [*analysis.words, *(analysis.at_micro if scale.draws_world else analysis.at_full)]
    here = [word.replace("{world}", str(place.world)) for word in words]
    return Step(
        name=f"analyse {folder}",
        words=("analyze", analysis.name, *named, *shown, *here, *_options(options)),
        output=out,
        is_done=lambda: done.analysis_is_done(out, analysis.name, models),
    )


def _options(options: Mapping[str, object]) -> list[str]:
    return [word for name, value in options.items() if value is not None for word in (name, str(value))]


def _settings(settings: Mapping[str, Any]) -> list[str]:
    """`KEY=VALUE` words; values are JSON, which is YAML, where they are not text."""
    return [
        f"{name}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"
        for name, value in settings.items()
    ]
