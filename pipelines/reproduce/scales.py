"""The two sizes of a reproduction: the paper's own recipes, and their counterparts in the micro-world."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.paper_recipes import LAYER
from pipelines.recipes import get_recipe
from pipelines.reproduce.runs import Run
from pipelines.training.align_config import TOWER
from stores.spec import flatten
from viral.errors import UnknownNameError

PAPER_BASE, MICRO_BASE = "llava15_7b_viral", "micro_viral"
MICRO_STEPS = {"save_every": 20, "keep_last": 5}
"""A fifth of a run, as the paper's 1,000 of 5,200 steps; neither changes what a run computes."""
MICRO_TEACHERS = {"clip": TOWER, "flux-vae": "micro"}
"""Teachers with a counterpart: the student's tower is its CLIP; what ROSS denoises are the micro teacher's features."""


class NoCounterpartError(Exception):
    """The micro-world has nothing that could stand for this row; says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How a row of the paper is run, and what is fixed with it."""

    name: str
    run_of: Callable[[str], Run]
    """Recipe of the paper -> the run that stands for it; raises NoCounterpartError."""
    home: Path
    """The folder that its recipes expect data in."""
    draws_world: bool = False
    """Whether its data are drawn, not fetched."""
    profile: str
    """Of evaluation, where none is asked for."""
    eval_batch: int
    cache_batch: int | None
    """Images encoded at once; None: what suits the machine."""


def paper_run(recipe: str) -> Run:
    """A row as the paper has it. Only runs of Fig. 6 are looked at along the way; others keep their last checkpoint."""
    keep = {} if recipe.endswith(("_viral", "_pretrain")) else {"keep_last": 1}
    return Run(name=get_recipe(recipe).name, recipe=recipe, settings=keep)


def micro_run(recipe: str) -> Run:
    """The micro-world's run with the same change: what differs from the paper's method, made small.

    Raises:
        NoCounterpartError: another student than LLaVA-1.5-7B, or a teacher that the micro-world has not got.
    """
    config = get_recipe(recipe)
    kind = "baseline" if config.align.objective == "none" else "viral"
    paper = get_recipe(f"llava15_7b_{kind}")
    ours, theirs = (flatten(each.model_dump(mode="json", exclude={"name"})) for each in (config, paper))
    changes = {name: value for name, value in ours.items() if value != theirs.get(name)}
    if changes.keys() & {"model.llm", "model.tower", "model.projector"}:
        raise NoCounterpartError("the micro-world has one language model and one vision tower")
    settings = {name: MICRO_SETTINGS.get(name, _as_it_is)(value) for name, value in changes.items()}
    if changed_batch := settings.get("data.batch_size"):
        settings["data.micro_batch_size"] = changed_batch
    name = recipe.replace("llava15_7b", "micro") if "llava15_7b" in recipe else f"micro_{recipe}"
    return Run(name=name.replace("_", "-"), recipe=f"micro_{kind}", settings={**settings, **MICRO_STEPS})


def _layer(layer: int | float | list[int]) -> int | float | list[int]:
    """The block at the same share of the depth; of several, as far from the middle one as in the paper."""
    middle = get_recipe(MICRO_BASE).align.layer
    assert isinstance(middle, int)
    if isinstance(layer, list):
        return [middle + index - LAYER for index in layer]
    return layer if isinstance(layer, float) else int(layer * middle / LAYER + 0.5)


def _teacher(name: str) -> str:
    if name not in (TOWER, *MICRO_TEACHERS):
        raise NoCounterpartError(f"the micro-world has no counterpart of the teacher {name}")
    return MICRO_TEACHERS.get(name, name)


def _length(tokens: int) -> int:
    """The same multiple of the usual length."""
    usual = get_recipe(PAPER_BASE).data.max_length
    return get_recipe(MICRO_BASE).data.max_length * tokens // usual


def _batch(size: int) -> int:
    """The same share of the usual batch."""
    usual = get_recipe(PAPER_BASE).data.batch_size
    return max(1, get_recipe(MICRO_BASE).data.batch_size * size // usual)


def _as_it_is(value: Any) -> Any:  # noqa: ANN401 - a setting can be anything
    return value


MICRO_SETTINGS: dict[str, Callable[[Any], Any]] = {
    "align.layer": _layer,
    "align.teacher": _teacher,
    "data.batch_size": _batch,
    "data.max_length": _length,
    "data.micro_batch_size": lambda _: get_recipe(MICRO_BASE).data.micro_batch_size,
}
"""Settings whose values depend on the size of the world."""

SCALES = {
    scale.name: scale
    for scale in (
        Scale(
            name="full", run_of=paper_run, home=Path("playground"), profile="paper", eval_batch=32,
            cache_batch=None,
        ),
        # Pictures are shown whole; `paper` would cut the sides off the oblong ones.
        Scale(
            name="micro", run_of=micro_run, home=Path("demo"), draws_world=True, profile="clean", eval_batch=64,
            cache_batch=64,
        ),
    )
}  # fmt: skip


def get_scale(name: str) -> Scale:
    """Look a scale up by name.

    Raises:
        UnknownNameError: no such scale.
    """
    if name not in SCALES:
        raise UnknownNameError("scale", name, list(SCALES))
    return SCALES[name]
