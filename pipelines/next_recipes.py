"""LLaVA-NeXT with and without the teacher on each view.

The paper says that alignment should carry over to tiles and trains no such model (Appendix E), so these settings are
ours: parts, data and rates are those of its LLaVA-1.5-7B. LLaVA-NeXT itself trains tower and LLM in full on more data.
"""

from collections.abc import Callable

from pipelines.paper_recipes import PAPER_RECIPES, without_alignment
from pipelines.training.config import TrainConfig

MAX_LENGTH = 4096
"""Vicuna's context: a picture has up to 2,928 tokens."""


def llava16_7b_viral() -> TrainConfig:
    """Vicuna-7B and CLIP as a LLaVA-NeXT, aligned at layer 16 with the teacher's features of every view."""
    base = PAPER_RECIPES["llava15_7b_viral"]()
    model = base.model.model_copy(update={"tiles": "llava-next"})
    data = base.data.model_copy(
        update={"max_length": MAX_LENGTH, "micro_batch_size": 2, "on_cut_image": "drop"}
    )
    return base.model_copy(update={"name": "llava16-7b-viral", "model": model, "data": data})


def llava16_7b_baseline() -> TrainConfig:
    """The same without alignment."""
    return without_alignment(llava16_7b_viral(), "llava16-7b-baseline")


NEXT_RECIPES: dict[str, Callable[[], TrainConfig]] = {
    recipe.__name__: recipe for recipe in (llava16_7b_viral, llava16_7b_baseline)
}
