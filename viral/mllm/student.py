"""Load a plain Hugging Face LLaVA folder, strictly: every weight named, none left over, parts that fit."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from viral.data.images import PixelSpec
from viral.data.tokens import ImageTokens
from viral.errors import WeightsError
from viral.mllm.llms import get_llm_family
from viral.mllm.load import load_strictly, load_tokenizer, read_model_config
from viral.mllm.towers import Tower, get_tower, tower_pixels

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase


@dataclass(slots=True)
class Student:
    """An MLLM with what is needed to feed it: tokenizer, pixel statistics, the image block."""

    model: "LlavaForConditionalGeneration"
    tokenizer: "PreTrainedTokenizerBase"
    pixels: PixelSpec
    image: ImageTokens


def load_student(source: str, *, device: str = "cpu", dtype: str = "float32") -> Student:
    """Load a LLaVA model folder (or hub id) in evaluation mode.

    Raises:
        WeightsError: nothing there, not a LLaVA model, keys missing, unexpected or of another shape, or parts
            (tokenizer, preprocessor, tower) that do not belong together or are of an unknown kind.
    """
    from transformers import LlavaForConditionalGeneration

    kind = read_model_config(source, "a LLaVA model").model_type
    if kind != "llava":  # transformers would make a 7B LLaVA around it, at random
        raise WeightsError(
            f"{source} is a {kind} model, expected a LLaVA, which takes images; see viral export."
        )
    model = load_strictly(LlavaForConditionalGeneration, source, dtype=dtype)
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


def tower_of(model: "LlavaForConditionalGeneration", source: str = "this model") -> Tower:
    """What is known of the model's vision tower.

    Raises:
        WeightsError: nothing.
    """
    return get_tower(model.config.vision_config.model_type, source)


def image_tokens(model: "LlavaForConditionalGeneration") -> ImageTokens:
    """The block of visual tokens one image becomes: (size / patch)^2 copies of the image token."""
    vision = model.config.vision_config
    return ImageTokens(id=model.config.image_token_id, count=(vision.image_size // vision.patch_size) ** 2)


def fitting_pixels(model: "LlavaForConditionalGeneration", source: str) -> PixelSpec:
    """How `source` wants its pixels, in squares of the size that the model's vision tower takes.

    Raises:
        WeightsError: the image processor is damaged, or one for another size.
    """
    return tower_pixels(source, tower_of(model, source), model.config.vision_config.image_size)


def _check_features(model: "LlavaForConditionalGeneration", source: str) -> None:
    config, tower = model.config, tower_of(model, source)
    if config.vision_feature_select_strategy != tower.select or not isinstance(
        config.vision_feature_layer, int
    ):
        raise WeightsError(
            f"{source}: vision_feature_layer={config.vision_feature_layer} and vision_feature_select_strategy="
            f"{config.vision_feature_select_strategy!r}; a {tower.name} tower needs one layer and {tower.select!r}, "
            "so that one token is left for each patch."
        )
