"""What a reproduction needs that is not made by it: weights, data, programs, room; said before anything runs."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pipelines.reproduce import room
from pipelines.reproduce.downloads import (
    BENCHMARK_FILES,
    GQA_RELATIONS,
    LLAVA_665K,
    LLAVA_PRETRAIN,
    WEIGHT_BYTES,
    Download,
)
from pipelines.reproduce.graph import Graph, Request
from pipelines.reproduce.presence import whole_model
from pipelines.reproduce.runs import Run
from pipelines.reproduce.targets import QUESTIONS
from stores.space import format_bytes, free_bytes
from viral.benchmarks import get_benchmark, load_items
from viral.benchmarks.files import require_images
from viral.errors import DataError
from viral.teachers import get_teacher


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """One line of the list."""

    kind: str
    name: str
    is_here: bool
    found: str
    num_bytes: int | None = None
    get: tuple[str, ...] = ()
    """What to type, or where to look; empty where there is nothing to fetch."""
    folder: str | None = None
    """Where to type it; None: anywhere."""


def check_needs(request: Request, graph: Graph, launcher: Sequence[str]) -> list[Need]:
    """Look for everything; nothing is downloaded, nothing is written."""
    runs = graph.all_runs
    found = [*_weights(request, runs)]
    if not request.scale.draws_world:
        found += [*_training_data(request, graph), *_benchmarks(request, graph), _device()]
    return [*found, *_programs(runs, launcher), _disk(request, graph)]


def _weights(request: Request, runs: Sequence[Run]) -> Iterator[Need]:
    models = [run.config.model for run in runs]
    sources = [source for model in models for source in (model.llm, model.tower)]
    sources += [run.config.model.projector for run in runs if run.stage_one is None]
    for source in dict.fromkeys(source for source in sources if source and source != "random"):
        yield _one_model(source, request.place.source(source))
    for name in dict.fromkeys(run.cache.vfm for run in runs if run.cache):
        teacher = get_teacher(name)
        if teacher.weights_file is None and teacher.hub:
            yield _one_model(teacher.hub, request.place.source(teacher.hub), teacher.hub_file)


def _one_model(hub_id: str, source: str, file: str | None = None) -> Need:
    where = whole_model(source, file)
    return Need(
        kind="weights",
        name=hub_id,
        is_here=where is not None,
        found=str(where) if where else f"neither in the hub's cache nor a whole model at {source}",
        num_bytes=WEIGHT_BYTES.get(hub_id),
        get=(" ".join(["hf download", hub_id, *([file] if file else [])]), f"or --local {hub_id}=PATH"),
    )


def _training_data(request: Request, graph: Graph) -> Iterator[Need]:
    parts = [*LLAVA_665K]
    if any(run.stage_one for run in graph.all_runs):
        parts.append(LLAVA_PRETRAIN)
    if any(QUESTIONS in job.analysis.at_full for job in graph.jobs):
        parts.append(GQA_RELATIONS)
    for part in parts:
        empty = [place for place in part.places if not _holds_something(request.place.world / place)]
        found = f"nothing at {request.place.world / empty[0]}" if empty else "there"
        yield _data("data", part, request, found, is_here=not empty)


def _holds_something(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _benchmarks(request: Request, graph: Graph) -> Iterator[Need]:
    """Loaded as an evaluation would load them: every question, every picture."""
    for name in graph.benchmarks:
        try:
            require_images(load_items(get_benchmark(name), request.place.benchmarks, request.profile))
        except DataError as error:
            yield _data("benchmark", BENCHMARK_FILES[name], request, str(error), is_here=False)
        else:
            yield _data("benchmark", BENCHMARK_FILES[name], request, "complete", is_here=True)


def _data(kind: str, part: Download, request: Request, found: str, *, is_here: bool) -> Need:
    return Need(
        kind=kind,
        name=part.name,
        is_here=is_here,
        found=found,
        num_bytes=part.num_bytes,
        get=part.get,
        folder=str(request.place.world),
    )


def _device() -> Need:
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Need(
        kind="device",
        name="GPU",
        is_here=bool(names),
        found=", ".join(names)
        or "none; models of the paper's size need one of 24 GB or more (docs/training.md)",
    )


def _programs(runs: Sequence[Run], launcher: Sequence[str]) -> Iterator[Need]:
    if any(run.cache and run.cache.vfm == "flux-vae" for run in runs):
        yield Need(
            kind="program",
            name="diffusers",
            is_here=find_spec("diffusers") is not None,
            found="for the teacher flux-vae",
            get=("pip install 'viral[diffusers]'",),
        )
    if launcher:
        found = shutil.which(launcher[0])
        yield Need(
            kind="program",
            name=launcher[0],
            is_here=found is not None,
            found=found or "not in PATH (--launcher)",
        )


def _disk(request: Request, graph: Graph) -> Need:
    needed, free = room.needed_bytes(request, graph), free_bytes(request.place.root)
    return Need(
        kind="disk",
        name=f"room at {request.place.root}",
        is_here=needed <= free,
        found=f"{format_bytes(free)} free of about {format_bytes(needed)} for caches, checkpoints and models",
        num_bytes=needed,
    )
