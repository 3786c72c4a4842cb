"""`viral demo`: the whole job on the embedded micro-world, with the commands' own code, ending in a report."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pipelines.cache_build import build_cache
from pipelines.cache_request import CacheRequest
from pipelines.comparison import Row, compare_runs
from pipelines.demo_report import demo_report
from pipelines.evaluate import generate_replies
from pipelines.microworld import NUM_SAMPLES, world_digest
from pipelines.recipes import get_recipe
from pipelines.report.demo_page import NAMES, demo_verdict, write_demo_page
from pipelines.report.evaluations import read_evaluations
from pipelines.report.items import Packed, answered_items, pack
from pipelines.report.words import markdown_table
from pipelines.training.config import TrainConfig, with_overrides
from pipelines.training.export import export_run
from pipelines.training.folder import CONFIG
from pipelines.training.loop import train
from pipelines.training.setup import build_run
from pipelines.training.timing import paired_step_times
from stores.publish import write_json
from viral.errors import ConfigError
from viral.microworld.benchmarks import write_benchmarks
from viral.microworld.instructions import ANNOTATIONS, IMAGES, write_instructions

TIMED_PAIRS = 12
NUM_ITEMS, MAX_BYTES = 600, 4_000_000
"""Of what the report's browser of items holds."""
BENCHMARKS = ("cvbench", "pope")
PROFILE = "clean"
"""Pictures are shown whole; `paper` would cut the sides off the oblong ones."""
KINDS = ("baseline", "viral")
MARKER = "demo.json"


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo hands back: the accuracy table as text, its reading, the page."""

    table: str
    verdict: str
    report: Path


def run_demo(out: Path, say: Callable[[str], None]) -> DemoResult:
    """Run, or continue, the demo in `out`; finished parts are not done again.

    Raises:
        ConfigError: `out` holds something that is not a demo, or a demo of another version.
    """
    _claim(out)
    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        say(f"[{len(seconds) + 1}/7] {name}")
        start = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - start

    with stage("draw the micro-world: instruction data and benchmarks"):
        _write_data(out)
    with stage("stage one: cache the teacher's features"):
        cache = build_cache(_request(out), show_progress=True)
    if cache.manifest is None:
        raise KeyboardInterrupt
    configs = {kind: _config(out, kind) for kind in KINDS}
    with stage("stage two: train baseline and VIRAL, same seed, same data"):
        for kind in KINDS:
            _train(out, kind, configs[kind])
    with stage("export both to plain Hugging Face folders"):
        for kind in KINDS:
            if not _model(out, kind).exists():
                export_run(_run(out, kind), _model(out, kind))
    with stage("evaluate both"):
        rows = _evaluate(out)
    with stage("time the training step, with and without alignment"):
        runs = [build_run(configs[kind], out / "cache") for kind in KINDS]
        step_seconds = paired_step_times(runs, TIMED_PAIRS)
    with stage("write the report"):
        page = demo_report(out, rows, _items(out), step_seconds, configs["viral"], cache.manifest)
        write_demo_page(page, out / "report.html")
    say(", ".join(f"{name.split(':')[0]} {value:.0f} s" for name, value in seconds.items()))
    return DemoResult(markdown_table(rows), demo_verdict(rows), out / "report.html")


def _claim(out: Path) -> None:
    """Mark an empty folder as ours, or make sure it is the same demo's."""
    identity = {"viral": version("viral"), "samples": NUM_SAMPLES, "world": world_digest()}
    marker = out / MARKER
    if marker.is_file():
        if json.loads(marker.read_text()) != identity:
            raise ConfigError(f"{out} holds a demo of another version; give another --out, or delete it.")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not empty and holds no demo of ours; give another --out.")
    out.mkdir(parents=True, exist_ok=True)
    write_json(marker, identity)


def _write_data(out: Path) -> None:
    if not (out / "data").exists():
        write_instructions(out / "data", num_samples=NUM_SAMPLES)
    if not (out / "benchmarks").exists():
        write_benchmarks(out / "benchmarks")


def _request(out: Path) -> CacheRequest:
    data = out / "data"
    return CacheRequest(
        vfm="micro", data=data / ANNOTATIONS, images=data / IMAGES, out=out / "cache", batch_size=64
    )


def _config(out: Path, kind: str) -> TrainConfig:
    data = out / "data"
    paths = {"data.annotations": str(data / ANNOTATIONS), "data.images": str(data / IMAGES)}
    return with_overrides(get_recipe(f"micro_{kind}"), paths)


def _train(out: Path, kind: str, config: TrainConfig) -> None:
    run = _run(out, kind)
    train(config, cache=out / "cache", output=run, resume=(run / CONFIG).exists())


def _evaluate(out: Path) -> list[Row]:
    data, results = out / "benchmarks", out / "results"
    for kind in KINDS:
        generate_replies(
            str(_model(out, kind)), BENCHMARKS, data, results / kind, profile=PROFILE, batch_size=64
        )
    baseline, viral = ([results / kind] for kind in KINDS)
    return compare_runs(baseline, viral, data, BENCHMARKS, PROFILE)


def _items(out: Path) -> Packed:
    """Questions and both replies, for the page's browser."""
    data = out / "benchmarks"
    folders = {name: out / "results" / kind for kind, name in NAMES.items()}
    items = answered_items(read_evaluations(folders, data), data)
    return pack(items, list(folders), max_items=NUM_ITEMS, max_bytes=MAX_BYTES)


def _run(out: Path, kind: str) -> Path:
    return out / "runs" / kind


def _model(out: Path, kind: str) -> Path:
    return out / "models" / kind
