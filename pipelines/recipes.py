"""Named training runs: the paper's, and the micro-world's; each is a function that changes one thing of its base."""

from collections.abc import Callable
from pathlib import Path

from pipelines.ablation_recipes import ablation_recipes
from pipelines.next_recipes import NEXT_RECIPES
from pipelines.paper_recipes import PAPER_RECIPES, without_alignment
from pipelines.training.config import (
    AlignConfig,
    DataConfig,
    LoraSettings,
    ModelConfig,
    OptimConfig,
    TrainConfig,
)
from viral.errors import UnknownNameError
from viral.microworld.instructions import ANNOTATIONS, IMAGES
from viral.microworld.parts import parts
from viral.mllm.scaled import DEPTH, WIDTH


def micro_viral() -> TrainConfig:
    """The micro-world with alignment: same code, toy parts, data as `viral demo` writes them.

    Half depth as in the paper (3 of 6 for 16 of 32), and its loss weight; rates are those of a small model.
    """
    micro, data = parts(), Path("demo/data")
    return TrainConfig(
        name="micro-viral",
        model=ModelConfig(llm=micro["llm"], tower=micro["tower"], projector=micro["projector"]),
        data=DataConfig(
            annotations=data / ANNOTATIONS,
            images=data / IMAGES,
            max_length=512,
            batch_size=32,
            micro_batch_size=32,
            num_workers=1,
        ),
        lora=LoraSettings(rank=32, alpha=64, dropout=0.0),
        align=AlignConfig(teacher="micro", layer=3, head_width=256, denoiser_width=128),
        optim=OptimConfig(lr=2e-3, projector_lr=1e-3),
        precision="fp32",
        gradient_checkpointing=False,
        save_every=200,
        keep_last=1,
    )


def micro_baseline() -> TrainConfig:
    """The micro-world without alignment."""
    return without_alignment(micro_viral(), "micro-baseline")


def scaled_llava15(model: Path, annotations: Path, images: Path) -> TrainConfig:
    """A run of the scaled-down LLaVA of `viral.mllm.scaled`, the paper's LoRA, layer and head in proportion."""
    return TrainConfig(
        name="scaled",
        model=ModelConfig(llava=str(model)),
        data=DataConfig(
            annotations=annotations, images=images, batch_size=4, micro_batch_size=4, num_workers=1
        ),
        lora=LoraSettings(rank=128 // WIDTH, alpha=256 // WIDTH),
        align=AlignConfig(layer=16 // DEPTH, head_width=2048 // WIDTH),
        precision="fp32",
        gradient_checkpointing=False,
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = (
    PAPER_RECIPES
    | ablation_recipes(PAPER_RECIPES["llava15_7b_viral"])
    | NEXT_RECIPES
    | {recipe.__name__: recipe for recipe in (micro_viral, micro_baseline)}
)


def get_recipe(name: str) -> TrainConfig:
    """The configuration of a named run.

    Raises:
        UnknownNameError: no such recipe.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, list(RECIPES))
    return RECIPES[name]()
