"""What an MLLM's visual tokens look like at its layers.

Shapes: N pictures, T visual tokens of each, V tower width, D LLM width, S side of the square in px.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from viral.data.conversation import IMAGE_TAG, get_template
from viral.data.images import mean_fill, to_square
from viral.data.tiles import tile_tokens
from viral.data.tokens import ImageTokens, encode_prompt
from viral.mllm.llms import get_llm_family, prompt_template
from viral.mllm.student import Seen, Student
from viral.mllm.tap import LayerTap

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
    family = get_llm_family(student.model.config.text_config.model_type, "this model")
    prompt = get_template(prompt_template(family, template)).prompt(PROMPT)
    seen = [student.look(image, image_mode) for image in images]
    # Pictures in tiles differ in length, and go one by one; others fill a batch.
    batches = [[each] for each in seen] if student.image.tiling else [seen]
    return [groups for batch in batches for groups in _batch_groups(student, batch, layers, prompt)]


def _batch_groups(
    student: Student, seen: Sequence[Seen], layers: Sequence[int], prompt: str
) -> list[list[TokenGroup]]:
    """Groups of pictures whose prompts are equally long."""
    model = student.model
    tokens = encode_prompt(prompt, student.tokenizer, student.image, [student.image.block(seen[0].size)])
    ids_L = torch.tensor(tokens, device=model.device)
    towers = student.features(seen)
    blocks = student.visual_blocks(torch.cat(towers), [each.size for each in seen])
    with LayerTap(model.model.language_model, tuple(layers)) as tap:
        model(input_ids=ids_L.repeat(len(seen), 1), **blocks, use_cache=False, logits_to_keep=1)
        hidden = {layer: state_NLD[:, ids_L == student.image.id] for layer, state_NLD in tap.take().items()}
    return [
        _groups(student.image, each, tower, {layer: state[index] for layer, state in hidden.items()})
        for index, (each, tower) in enumerate(zip(seen, towers, strict=True))
    ]


def _groups(
    image: ImageTokens, seen: Seen, tower_VTV: torch.Tensor, hidden: Mapping[int, torch.Tensor]
) -> list[TokenGroup]:
    """A group for each view of one picture; the bars of a tile and the newlines between rows are in none."""
    if image.tiling is None:
        return [TokenGroup(tower_VTV[0], hidden)]
    places, groups = tile_tokens(image.tiling, seen.size, image.grid[0]), []
    for view, tower_TV in enumerate(tower_VTV):
        tokens, patches = map(torch.from_numpy, places.of_view(view))
        groups.append(TokenGroup(tower_TV[patches], {k: v[tokens] for k, v in hidden.items()}))
    return groups


def visual_tokens(
    student: Student, images: Sequence[Image.Image], layer: int, template: str = "vicuna_v1"
) -> np.ndarray:
    """Visual tokens [N, T, D] of padded images at one layer (see `token_groups`).

    Raises:
        ConfigError: no such layer.
    """
    groups = token_groups(student, images, (layer,), template=template)
    return np.stack([group.hidden[layer].float().cpu().numpy() for (group,) in groups])
