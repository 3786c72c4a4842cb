"""Vision towers: which architectures a student can see through, and how LLaVA reads their patches.

Every tower here gives 24 x 24 tokens of its second-to-last block, class token left out, so that each visual
token has one teacher feature. SigLIP 2 checkpoints of one resolution are of transformers' `siglip` class.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from viral.data.statistics import CLIP_MEAN, CLIP_STD, HALF
from viral.errors import WeightsError
from viral.mllm.load import load_strictly, read_model_config

if TYPE_CHECKING:
    from transformers import LlavaModel, PreTrainedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class Tower:
    """One architecture of vision towers."""

    name: str
    class_name: str
    """Of transformers."""
    model_types: tuple[str, ...]
    """`model_type` of a checkpoint of the tower alone, and of one that holds a text half, too."""
    class_tokens: int
    """Tokens before the patches, which the student does not see."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """Statistics of [0, 1] pixels; used for a checkpoint that comes without a preprocessor_config.json."""
    rest: tuple[str, ...]
    """Parts of the names of weights that a checkpoint may hold beside the tower's."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of its configuration that are set, to build only what is used."""
    feature_layer: int = -2
    """Whose output the tokens are, without the final norm (release, finetune_lora.sh)."""
    checkpoints: tuple[str, ...] = ()
    """Hub ids that give 24 x 24 tokens."""

    @property
    def select(self) -> str:
        """LLaVA's `vision_feature_select_strategy`: `default` drops the first token, `full` drops none."""
        return "default" if self.class_tokens else "full"


TOWERS = {
    tower.name: tower
    for tower in (
        Tower(
            name="clip",
            class_name="CLIPVisionModel",
            model_types=("clip_vision_model", "clip"),
            class_tokens=1,
            mean=CLIP_MEAN,
            std=CLIP_STD,
            # Older checkpoints hold a position_ids buffer.
            rest=("text_model.", "text_projection", "visual_projection", "logit_", "embeddings.position_ids"),
            checkpoints=("openai/clip-vit-large-patch14-336",),
        ),
        Tower(
            name="siglip",
            class_name="SiglipVisionModel",
            model_types=("siglip_vision_model", "siglip"),
            class_tokens=0,
            mean=HALF,
            std=HALF,
            rest=("text_model.", "logit_", "head."),
            changes={"vision_use_head": False},  # it pools the patches into one vector, which nobody reads
            checkpoints=(
                "google/siglip2-base-patch16-384",
                "google/siglip2-large-patch16-384",
                "google/siglip2-so400m-patch16-384",
            ),
        ),
    )
}


def get_tower(model_type: str, source: str) -> Tower:
    """The tower whose checkpoints have this `model_type`; `source` is for the message.

    Raises:
        WeightsError: none has.
    """
    for tower in TOWERS.values():
        if model_type in tower.model_types:
            return tower
    known = "; ".join(f"{tower.name}, e.g. {tower.checkpoints[-1]}" for tower in TOWERS.values())
    raise WeightsError(f"{source} is a {model_type} model, which is no vision tower we know. Known: {known}.")


def load_tower(source: str, dtype: str) -> tuple[Tower, "PreTrainedModel"]:
    """The vision model of `source`, and what is known of its kind.

    Raises:
        WeightsError: nothing there, an unknown architecture, or weights that do not fit it.
    """
    import transformers

    config = read_model_config(source, "vision tower")
    tower = get_tower(config.model_type, source)
    vision_config = getattr(config, "vision_config", config)
    vision_config.update(tower.changes)
    model_class = getattr(transformers, tower.class_name)
    return tower, load_strictly(model_class, source, dtype=dtype, ignore=tower.rest, config=vision_config)


def patch_features(core: "LlavaModel", pixels: torch.Tensor) -> torch.Tensor:
    """Normalised squares [N, 3, S, S] -> features [N, T, V] of the frozen tower, row-major, before the projector."""
    config, tower = core.config, core.vision_tower
    with torch.no_grad():
        states = tower(pixels.to(tower.dtype), output_hidden_states=True).hidden_states
    first = 1 if config.vision_feature_select_strategy == "default" else 0
    return states[config.vision_feature_layer][:, first:]
