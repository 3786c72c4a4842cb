"""Load a plain Hugging Face folder of a LLaVA or LLaVA-NeXT, strictly: every weight named, none left over."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from viral.data.images import PixelSpec
from viral.data.tokens import ImageTokens
from viral.errors import WeightsError
from viral.mllm.llms import get_llm_family
from viral.mllm.load import load_strictly, load_tokenizer, read_model_config
from viral.mllm.tiling import TILED, tiling_of
from viral.mllm.towers import Tower, get_tower, tower_pixels

if TYPE_CHECKING:
    from transformers import (
        LlavaForConditionalGeneration,
        LlavaNextForConditionalGeneration,
        PretrainedConfig,
        PreTrainedTokenizerBase,
    )

    Llava = LlavaForConditionalGeneration | LlavaNextForConditionalGeneration

CLASSES = {"llava": "LlavaForConditionalGeneration", TILED: "LlavaNextForConditionalGeneration"}
"""Of transformers, by the `model_type` of a configuration."""


@dataclass(slots=True)
class Student:
    """An MLLM with what is needed to feed it: tokenizer, pixel statistics, the image block."""

    model: "Llava"
    tokenizer: "PreTrainedTokenizerBase"
    pixels: PixelSpec
    image: ImageTokens


def load_student(source: str, *, device: str = "cpu", dtype: str = "float32") -> Student:
    """Load a LLaVA model folder (or hub id) in evaluation mode.

    Raises:
        WeightsError: nothing there, not a LLaVA model, keys missing, unexpected or of another shape, or parts
            (tokenizer, preprocessor, tower) that do not belong together or are of an unknown kind.
    """
    model = load_strictly(llava_class(read_model_config(source, "LLaVA"), source), source, dtype=dtype)
    get_llm_family(model.config.text_config.model_type, source)
    _check_features(model, source)
    tokenizer = load_tokenizer(source)
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    if image_token != model.config.image_token_id:
        raise WeightsError(
            f"{source}: the tokenizer's <image> is token {image_token}, the model expects "
            f"{model.config.image_token_id}; the folder mixes two models."
        )
    model.eval().to(device)
    return Student(model, tokenizer, fitting_pixels(model, source), image_tokens(model))


def llava_class(config: "PretrainedConfig", source: str = "this model") -> "type[Llava]":
    """The class of transformers that a LLaVA's configuration is of.

    Raises:
        WeightsError: it is of no LLaVA.
    """
    import transformers

    if config.model_type not in CLASSES:
        raise WeightsError(
            f"{source} is a {config.model_type} model, no LLaVA ({', '.join(CLASSES)}); give its parts with model.llm, "
            "model.tower and model.projector."
        )
    found: type[Llava] = getattr(transformers, CLASSES[config.model_type])
    return found


def tower_of(model: "Llava", source: str = "this model") -> Tower:
    """What is known of the model's vision tower.

    Raises:
        WeightsError: nothing.
    """
    return get_tower(model.config.vision_config.model_type, source)


def image_tokens(model: "Llava") -> ImageTokens:
    """The block of visual tokens one image becomes: (size / patch)^2 copies of the image token for each view.

    Raises:
        WeightsError: it sees tiles of an unknown kind.
    """
    vision = model.config.vision_config
    return ImageTokens(
        id=model.config.image_token_id,
        count=(vision.image_size // vision.patch_size) ** 2,
        tiling=tiling_of(model.config),
    )


def fitting_pixels(model: "Llava", source: str) -> PixelSpec:
    """How `source` wants its pixels, in squares of the size that the model's vision tower takes.

    Raises:
        WeightsError: the image processor is damaged, or one for another size.
    """
    return tower_pixels(source, tower_of(model, source), model.config.vision_config.image_size)


def _check_features(model: "Llava", source: str) -> None:
    config, tower = model.config, tower_of(model, source)
    if config.vision_feature_select_strategy != tower.select or not isinstance(
        config.vision_feature_layer, int
    ):
        raise WeightsError(
            f"{source}: vision_feature_layer={config.vision_feature_layer} and vision_feature_select_strategy="
            f"{config.vision_feature_select_strategy!r}; a {tower.name} tower needs one layer and {tower.select!r}, "
            "so that one token is left for each patch."
        )
