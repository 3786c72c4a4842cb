"""What an MLLM's visual tokens look like at its layers.

Shapes: N pictures, T visual tokens of each, V tower width, D LLM width, S side of the square in px.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from viral.data.conversation import IMAGE_TAG, get_template
from viral.data.images import mean_fill, normalise, to_square
from viral.data.tokens import encode_prompt
from viral.mllm.llms import get_llm_family, prompt_template
from viral.mllm.student import Student
from viral.mllm.tap import LayerTap
from viral.mllm.towers import patch_features

PROMPT = f"{IMAGE_TAG}\nDescribe the image."


@dataclass(frozen=True, slots=True)
class TokenGroup:
    """Visual tokens that show one square: all of an image's, or those of one tile where a model cuts it into tiles.

    `tower` are the vision tower's features [T, V] before the projector, `hidden` the states [T, D] by layer.
    """

    tower: torch.Tensor
    hidden: Mapping[int, torch.Tensor]


def square_pictures(student: Student, images: Sequence[Image.Image], image_mode: str = "pad") -> np.ndarray:
    """The squares uint8 [N, S, S, 3] that the student is shown."""
    fill = mean_fill(student.pixels.mean)
    return np.stack([to_square(image, student.pixels.size, image_mode, fill) for image in images])


@torch.inference_mode()
def token_groups(
    student: Student,
    images: Sequence[Image.Image],
    layers: Sequence[int],
    *,
    image_mode: str = "pad",
    template: str = "vicuna_v1",
) -> list[list[TokenGroup]]:
    """Features of each picture's visual tokens, in tower and LLM, in a prompt that asks for a description.

    A decoder is causal, so the question after the image does not change them.

    Raises:
        ConfigError: no such layer.
    """
    model = student.model
    family = get_llm_family(model.config.text_config.model_type, "this model")
    prompt = get_template(prompt_template(family, template)).prompt(PROMPT)
    ids_L = torch.tensor(encode_prompt(prompt, student.tokenizer, student.image), device=model.device)
    squares_NSSC = square_pictures(student, images, image_mode)
    pixels_NCSS = normalise(squares_NSSC, student.pixels).to(model.device, model.dtype)
    with LayerTap(model.model.language_model, tuple(layers)) as tap:
        model(
            input_ids=ids_L.repeat(len(images), 1),
            pixel_values=pixels_NCSS,
            use_cache=False,
            logits_to_keep=1,
        )
        hidden = {layer: state_NLD[:, ids_L == student.image.id] for layer, state_NLD in tap.take().items()}
    tower_NTV = patch_features(model.model, pixels_NCSS)
    return [
        [TokenGroup(tower_TV, {layer: state_NTD[index] for layer, state_NTD in hidden.items()})]
        for index, tower_TV in enumerate(tower_NTV)
    ]


def visual_tokens(
    student: Student, images: Sequence[Image.Image], layer: int, template: str = "vicuna_v1"
) -> np.ndarray:
    """Visual tokens [N, T, D] of padded images at one layer (see `token_groups`).

    Raises:
        ConfigError: no such layer.
    """
    groups = token_groups(student, images, (layer,), template=template)
    return np.stack([group.hidden[layer].float().cpu().numpy() for (group,) in groups])
