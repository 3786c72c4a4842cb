"""A LLaVA or LLaVA-NeXT with what feeds it, loaded strictly from a plain Hugging Face folder.

Shapes: N views of images, T patches of each, V tower width, D LLM width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image

from viral.data.image_source import ImageSource
from viral.data.images import PixelSpec, centre_square, image_size, mean_fill, normalise, to_square
from viral.data.tiles import Size
from viral.data.tokens import ImageTokens
from viral.errors import WeightsError
from viral.mllm.llms import get_llm_family
from viral.mllm.load import load_strictly, load_tokenizer, read_model_config
from viral.mllm.tiling import TILED, tiling_of
from viral.mllm.towers import Tower, get_tower, patch_features, tower_pixels

if TYPE_CHECKING:
    from transformers import (
        LlavaForConditionalGeneration,
        LlavaNextForConditionalGeneration,
        PretrainedConfig,
        PreTrainedTokenizerBase,
    )

    Llava: TypeAlias = LlavaForConditionalGeneration | LlavaNextForConditionalGeneration

CLASSES = {"llava": "LlavaForConditionalGeneration", TILED: "LlavaNextForConditionalGeneration"}
"""Of transformers, by the `model_type` of a configuration."""


class Seen(NamedTuple):
    """A picture as a student sees it."""

    views: np.ndarray
    """uint8 [views, S, S, 3]."""
    size: Size
    """Of the picture."""


@dataclass(slots=True)
class Student:
    """An MLLM with what is needed to feed it: tokenizer, pixel statistics, the image block."""

    model: "Llava"
    tokenizer: "PreTrainedTokenizerBase"
    pixels: PixelSpec
    image: ImageTokens

    def look(self, image: Image.Image, image_mode: str = "pad") -> Seen:
        """What it sees of an RGB image: one square, or every view of its tiling.

        Tiles take a picture as it is, so there `pad` adds nothing, and `crop` leaves the square in its middle.

        Raises:
            ConfigError: unknown mode.
            ImageError: too long and thin.
        """
        if self.image.tiling is None:
            square = to_square(image, self.pixels.size, image_mode, mean_fill(self.pixels.mean))
            return Seen(square[None], (image.height, image.width))
        if image_mode == "crop":
            image = centre_square(image)
        return Seen(self.image.tiling.views(image), (image.height, image.width))

    def features(self, seen: Sequence[Seen]) -> list[torch.Tensor]:
        """The tower's features [views, T, V] of each of these images."""
        pixels = normalise(np.concatenate([each.views for each in seen]), self.pixels)
        features_NTV = patch_features(self.model.model, pixels.to(self.model.device))
        return list(features_NTV.split([len(each.views) for each in seen]))

    def visual_blocks(
        self, features_NTV: torch.Tensor, sizes: Sequence[Size] | None = None
    ) -> dict[str, Any]:
        """The tower's features of all views as the model's forward takes an encoder's output, by keyword: a block of
        visual tokens for each image. `sizes` of the images are asked for where they are tiled.
        """
        core, tiling = self.model.model, self.image.tiling
        projected_NTD = core.multi_modal_projector(features_NTV.to(self.model.dtype))
        blocks = list(projected_NTD)
        if tiling is not None:
            assert sizes is not None
            views = projected_NTD.split([tiling.num_views(size) for size in sizes])
            strategy = self.model.config.vision_feature_select_strategy
            blocks, _ = core.pack_image_features(views, torch.tensor(sizes), strategy, core.image_newline)
        return {"mm_encoder_outputs": {"image": SimpleNamespace(pooler_output=blocks)}}

    def sizes(self, images: Sequence[ImageSource], image_mode: str = "pad") -> list[Size] | None:
        """Sizes as `look` gives them, where they matter: of pictures that are tiled. They are not decoded.

        Raises:
            ImageError: an image that cannot be read.
        """
        if self.image.tiling is None:
            return None
        sizes = [image_size(image) for image in images]
        return [(min(size), min(size)) for size in sizes] if image_mode == "crop" else sizes

    def blocks(self, images: Sequence[ImageSource], image_mode: str = "pad") -> list[int]:
        """Visual tokens of each of these images; raises as `sizes`, and if one is too long and thin for tiles."""
        sizes = self.sizes(images, image_mode)
        return (
            [self.image.count] * len(images) if sizes is None else [self.image.block(size) for size in sizes]
        )


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
            f"{source} is a {config.model_type} model, expected a LLaVA ({', '.join(CLASSES)}), which takes images; "
            "viral export makes one of a run, and a run joins parts with model.llm, model.tower and model.projector."
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
