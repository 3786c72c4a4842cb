"""Vision towers: which architectures a student can see through, and how LLaVA reads their patches.

Every tower here gives 24 x 24 tokens of its second-to-last block, class token left out, so that each visual
token has one teacher feature. SigLIP 2 checkpoints of one resolution are of transformers' `siglip` class.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from viral.data.images import PixelSpec
from viral.data.statistics import CLIP_MEAN, CLIP_STD, HALF
from viral.errors import WeightsError
from viral.mllm.load import load_pixel_spec, load_strictly, read_model_config

if TYPE_CHECKING:
    from transformers import LlavaModel, LlavaNextModel, PretrainedConfig, PreTrainedModel

log = logging.getLogger(__name__)

_PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
_LLAVAS = ("llava", "llava_next")
_PREFIX = r"^(model\.)?vision_tower\.(vision_model\.)?"
"""Of the tower's weights in a LLaVA, in old and new checkpoints."""
_SIZES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size",
    "hidden_act", "layer_norm_eps",
)  # fmt: skip


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


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerChoice:
    """What a checkpoint's own configuration says of the tower in it."""

    tower: Tower
    config: "PretrainedConfig"
    """Of the vision model alone."""
    layer: int
    """Whose output the student's tokens are."""
    in_llava: bool


def read_tower(source: str) -> TowerChoice:
    """The tower of a LLaVA, or the vision half of a tower's own checkpoint; only configurations are read.

    Raises:
        WeightsError: nothing there, or an unknown architecture.
    """
    config = read_model_config(source, "vision tower")
    in_llava = config.model_type in _LLAVAS
    vision = getattr(config, "vision_config", config)
    tower = get_tower(vision.model_type if in_llava else config.model_type, source)
    vision.update(tower.changes)
    return TowerChoice(
        tower=tower,
        config=vision,
        layer=config.vision_feature_layer if in_llava else tower.feature_layer,
        in_llava=in_llava,
    )


def load_tower(source: str, dtype: str) -> tuple[Tower, "PreTrainedModel"]:
    """The vision model of `source`, be it a LLaVA or a tower's own checkpoint, and what is known of its kind.

    Raises:
        WeightsError: nothing there, an unknown architecture, or weights that do not fit it.
    """
    import transformers

    choice = read_tower(source)
    rest, settings = choice.tower.rest, {}
    if choice.in_llava:
        rest, settings = (
            (*rest, "language_model.", "multi_modal_projector.", "lm_head.", "image_newline"),
            {"key_mapping": {_PREFIX: ""}},
        )
    model_class = getattr(transformers, choice.tower.class_name)
    model = load_strictly(model_class, source, dtype=dtype, ignore=rest, config=choice.config, **settings)
    return choice.tower, model


def tower_pixels(source: str, tower: Tower, side: int) -> PixelSpec:
    """How `source` wants its pixels, in squares of the `side` that its tower takes.

    A tower without a preprocessor is given the statistics of its kind.

    Raises:
        WeightsError: the image processor is damaged, or one for another size.
    """
    folder = Path(source)
    if folder.is_dir() and not any((folder / name).is_file() for name in _PREPROCESSORS):
        log.warning("%s has no %s: pixels get the statistics of %s", source, _PREPROCESSORS[0], tower.name)
        return PixelSpec(size=side, mean=tower.mean, std=tower.std)
    pixels = load_pixel_spec(source)
    if pixels.size != side:
        raise WeightsError(
            f"{source}: its preprocessor makes squares of {pixels.size} pixels, its vision tower takes {side}; "
            "give it the preprocessor_config.json of its own tower."
        )
    return pixels


def tower_sizes(config: Any) -> dict[str, Any]:  # noqa: ANN401 - a vision model's configuration
    """All of a tower's architecture that shapes its features."""
    return {name: getattr(config, name) for name in _SIZES}


def num_blocks(config: Any, layer: int) -> int:  # noqa: ANN401
    """Blocks that the features of `layer` need, an index of a hidden state; -2 needs all but the last."""
    return layer if layer >= 0 else int(config.num_hidden_layers) + 1 + layer


def trim_tower(vision: Any, layer: int) -> None:  # noqa: ANN401 - any of the classes above
    """Leave out the blocks that the features of `layer` do not need."""
    vision.encoder.layers = vision.encoder.layers[: num_blocks(vision.config, layer)]


def needed_tensors(core: "LlavaModel | LlavaNextModel", tower: Tower) -> dict[str, torch.Tensor]:
    """The student's tower by name, as `trim_tower` leaves it."""
    vision = core.vision_tower
    last = num_blocks(vision.config, core.config.vision_feature_layer)
    behind = [f"encoder.layers.{index}." for index in range(last, vision.config.num_hidden_layers)]
    return {
        name: tensor
        for name, tensor in vision.state_dict().items()
        if not name.startswith((*behind, *tower.rest))
    }


def patch_features(core: "LlavaModel | LlavaNextModel", pixels: torch.Tensor) -> torch.Tensor:
    """Normalised squares [N, 3, S, S] -> features [N, T, V] of the frozen tower, row-major, before the projector."""
    config, tower = core.config, core.vision_tower
    # In the tower's own precision: so it is the same computation here, in a cache, and when the student is asked.
    with torch.no_grad(), torch.autocast(pixels.device.type, enabled=False):
        states = tower(pixels.to(tower.dtype), output_hidden_states=True).hidden_states
    first = 1 if config.vision_feature_select_strategy == "default" else 0
    # Contiguous as from a cache: a linear layer rounds a view with gaps otherwise.
    return states[config.vision_feature_layer][:, first:].contiguous()
