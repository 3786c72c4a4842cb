"""What an MLLM's visual tokens look like at a layer."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from viral.data.conversation import IMAGE_TAG, get_template
from viral.data.images import mean_fill, normalise, to_square
from viral.data.tokens import encode_prompt
from viral.mllm.student import Student
from viral.mllm.tap import LayerTap

PROMPT = f"{IMAGE_TAG}\nDescribe the image."


@torch.inference_mode()
def visual_tokens(
    student: Student, images: Sequence[Image.Image], layer: int, template: str = "vicuna_v1"
) -> np.ndarray:
    """Visual tokens [N, T, D] of padded images after block `layer`, in a prompt that asks for a description.

    A decoder is causal, so the question after the image does not change them.

    Raises:
        ConfigError: no such layer.
    """
    prompt = get_template(template).prompt(PROMPT)
    ids_L = torch.tensor(encode_prompt(prompt, student.tokenizer, student.image), device=student.model.device)
    squares = [
        to_square(image, student.pixels.size, "pad", mean_fill(student.pixels.mean)) for image in images
    ]
    pixels_NCHW = normalise(np.stack(squares), student.pixels).to(student.model.device, student.model.dtype)
    with LayerTap(student.model.model.language_model, (layer,)) as tap:
        student.model(input_ids=ids_L.repeat(len(images), 1), pixel_values=pixels_NCHW, use_cache=False)
        hidden_NLD = tap.take()[layer]
    return hidden_NLD[:, ids_L == student.image.id].float().cpu().numpy()
