"""Folders as the commands leave them, with contents that a test chooses."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.evaluate import describe, score
from pipelines.recipes import get_recipe
from pipelines.replies import ReplyLog
from pipelines.scores_file import add_scores
from pipelines.training.config import with_overrides, write_config
from pipelines.training.folder import CONFIG, METRICS
from viral.benchmarks import Item, get_benchmark, get_profile, load_items, prompt
from viral.microworld.benchmarks import write_cv_bench, write_pope


def write_world(out: Path) -> Path:
    """24 items of CV-Bench 2D, 72 of POPE about four pictures."""
    write_cv_bench(out / "cvbench", 12, 12, seed=0)
    write_pope(out, 4, seed=0)
    return out


def right(index: int, item: Item) -> str:
    """The gold answer."""
    return item.answer


def wrong_at(every: int, word: str = "dunno") -> Callable[[int, Item], str]:
    """The gold answer, but `word` at every so many items."""
    return lambda index, item: word if index % every == 0 else item.answer


def write_evaluation(
    folder: Path,
    data: Path,
    reply: Callable[[int, Item], str],
    *,
    names: tuple[str, ...] = ("cvbench", "pope"),
    profile: str = "clean",
) -> Path:
    """An evaluation of a model that says `reply(index, item)`."""
    for name in names:
        spec = get_benchmark(name)
        maker = {"model": str(folder), "weights": "ab" * 32, "dtype": "float32"}
        items, template = load_items(spec, data, profile), get_profile(profile).template
        log = ReplyLog(folder / name, describe(spec, items, profile, template) | maker)
        with log:
            for index, item in enumerate(items):
                log.add(item.id, reply(index, item), prompt(spec, item, profile))
        add_scores(folder, {name: score(name, data, log.path)})
    return folder


def write_run(folder: Path, recipe: str, num_steps: int = 40) -> Path:
    """A run's configuration and metrics; the baseline has no cosine."""
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(write_config(with_overrides(get_recipe(recipe), {})))
    lines = [
        {
            "step": step,
            "loss": 2 / step,
            "loss/lm": 1 + math.sin(step) / step,
            "align/cosine": 1 - 1 / step if recipe == "micro_viral" else None,
            "tokens": 4000 + step,
            "step_time": 9.0 if step == 1 else 0.5,
            "data_wait": 0.01,
            "peak_memory": 2_000_000_000,
        }
        for step in range(1, num_steps + 1)
    ]
    (folder / METRICS).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


def write_analysis(folder: Path, name: str, num_figures: int = 2, **extra: object) -> Path:
    """An analysis with figures of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = []
    for index in range(num_figures):
        noise = np.random.default_rng(index).integers(0, 256, (60, 90, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{name}_{index}.png")
        figures.append({"file": f"{name}_{index}.png", "caption": f"Figure {index} of {name}"})
    value = {
        "analysis": name,
        "title": f"Title of {name}",
        "settings": {"k": 10},
        "models": {"baseline": {"path": "models/baseline", "weights": "cd" * 32}},
        "figures": figures,
        "data": {},
    }
    (folder / f"{name}.json").write_text(json.dumps(value | extra))
    return folder
