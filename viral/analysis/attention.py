"""Attention of a reply's tokens to the visual tokens, block by block, while the reply is generated.

Shapes: S steps of generation, H heads, Q queries, L tokens so far, T visual tokens.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.hooks import RemovableHandle

from viral.errors import ConfigError
from viral.mllm.generate import Question, generate
from viral.mllm.student import Student
from viral.mllm.tap import layer_indices

if TYPE_CHECKING:
    from transformers import LlavaModel

_EAGER = "eager"


@dataclass(frozen=True, slots=True)
class ImageAttention:
    """A reply, and what its tokens attended to: for each block [S, H, T], rows that sum to at most 1.

    A step's query is the token whose output is the next token of the reply: first the prompt's last one, then each
    token of the reply. So there is at least one step, and an end token counts as generated.
    """

    reply: str
    maps: Mapping[int, np.ndarray]


class AttentionTap:
    """Keeps, of each forward pass, the last query's attention to the image's tokens, in chosen blocks (1-based).

    A block's whole map exists only while it runs. Works for a single sequence without padding, in eager attention.
    """

    def __init__(self, core: "LlavaModel", layers: Sequence[int]) -> None:
        self._columns = torch.tensor([], dtype=torch.long)
        self._rows: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
        self._hooks = [core.register_forward_pre_hook(self._find_image(core), with_kwargs=True)]
        self._hooks += [
            self._hook(core.language_model.layers[layer - 1].self_attn, layer) for layer in layers
        ]

    def __enter__(self) -> "AttentionTap":
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def take(self) -> dict[int, np.ndarray]:
        """Attention [S, H, image tokens] by block, of all forward passes since the tap was opened."""
        return {layer: torch.stack(rows).numpy() for layer, rows in self._rows.items()}

    def _find_image(self, core: "LlavaModel") -> Callable[..., None]:
        def find(_module: nn.Module, _args: object, kwargs: dict[str, torch.Tensor]) -> None:
            is_image_L = kwargs["input_ids"][0] == core.config.image_token_id
            if is_image_L.any():  # the prompt; later tokens find it in the cache
                self._columns = is_image_L.nonzero()[:, 0]

        return find

    def _hook(self, attention: nn.Module, layer: int) -> RemovableHandle:
        def keep(_module: nn.Module, _args: object, output: tuple[torch.Tensor, torch.Tensor | None]) -> None:
            weights_1HQL = output[1]
            if weights_1HQL is None:
                raise ConfigError(
                    f"Block {layer} computes no attention map; the analysis needs a decoder with eager attention."
                )
            self._rows[layer].append(weights_1HQL[0, :, -1, self._columns].float().cpu())

        return attention.register_forward_hook(keep)


def attention_layers(layers: float | Sequence[float] | None, depth: int) -> tuple[int, ...]:
    """Blocks whose attention is wanted, 1-based; None means all. Fractions are of the depth.

    Raises:
        ConfigError: no such block; 0 is the input, which attends to nothing.
    """
    if layers is None:
        return tuple(range(1, depth + 1))
    blocks = layer_indices(layers, depth)
    if 0 in blocks:
        raise ConfigError(f"Layer 0 is the input and has no attention; this LLM has blocks 1 to {depth}.")
    return blocks


def image_attention(
    student: Student, question: Question, layers: Sequence[int], *, max_new_tokens: int, image_mode: str
) -> ImageAttention:
    """Answer one question and record the attention to its image.

    Raises:
        ConfigError: the model cannot show its attention.
        DataError, ImageError: see `generate`.
    """
    core = student.model.model
    with eager_attention(core.language_model), AttentionTap(core, layers) as tap:
        ((_, reply),) = generate(
            student, [question], max_new_tokens=max_new_tokens, image_mode=image_mode, batch_size=1
        )
        maps = tap.take()
    if (found := maps[layers[0]].shape[-1]) != student.image.count:
        raise ConfigError(
            f"The model reads {found} tokens of this picture, not {student.image.count} of one square; maps of "
            "attention are made for models that see a picture in one piece."
        )
    return ImageAttention(reply.strip(), maps)


@contextmanager
def eager_attention(model: Any) -> Iterator[None]:  # noqa: ANN401 - a pretrained model of transformers
    """Run `model` with the attention that has maps to show; fused kernels have none."""
    before = model.config._attn_implementation
    model.set_attn_implementation(_EAGER)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def upsample(map_RC: np.ndarray, side: int) -> np.ndarray:
    """A map over the patches, bilinearly over the square picture [side, side]."""
    map_11RC = torch.as_tensor(map_RC, dtype=torch.float32)[None, None]
    enlarged: np.ndarray = F.interpolate(map_11RC, size=(side, side), mode="bilinear")[0, 0].numpy()
    return enlarged
