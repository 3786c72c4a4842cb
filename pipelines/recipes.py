"""Named training runs; each is a function that changes one thing of its base."""

from collections.abc import Callable

from pipelines.training.config import (
    ModelConfig,
    TrainConfig,
)
from viral.errors import UnknownNameError


def llava15_7b_viral() -> TrainConfig:
    """Table 1, Vicuna-1.5-7B + CLIP with alignment: every default of the paper."""
    return TrainConfig(
        name="llava15-7b-viral",
        model=ModelConfig(
            llm="lmsys/vicuna-7b-v1.5",
            tower="openai/clip-vit-large-patch14-336",
            projector="liuhaotian/llava-v1.5-mlp2x-336px-pretrain-vicuna-7b-v1.5",
        ),
    )


def llava15_7b_baseline() -> TrainConfig:
    """Table 1, the same run without alignment."""
    return _without_alignment(llava15_7b_viral(), "llava15-7b-baseline")


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    recipe.__name__: recipe for recipe in (llava15_7b_viral, llava15_7b_baseline)
}


def get_recipe(name: str) -> TrainConfig:
    """The configuration of a named run.

    Raises:
        UnknownNameError: no such recipe.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, list(RECIPES))
    return RECIPES[name]()


def _without_alignment(config: TrainConfig, name: str) -> TrainConfig:
    return config.model_copy(
        update={"name": name, "align": config.align.model_copy(update={"objective": "none"})}
    )
