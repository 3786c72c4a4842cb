"""Read the hidden state of chosen layers out of a decoder, once per forward pass."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from viral.errors import ConfigError

if TYPE_CHECKING:
    from transformers import LlamaModel


def layer_indices(layers: float | Sequence[float], depth: int) -> tuple[int, ...]:
    """Indices of hidden states from what a run says: an integer is an index, a float a fraction of the depth.

    16 of 32 blocks is 16 or 0.5; of 40 blocks 16 stays 16 and 0.5 is 20. Half a block is rounded up.

    Raises:
        ConfigError: no layer, one that is out of range, or the same one twice.
    """
    wanted = list(layers) if isinstance(layers, Sequence) else [layers]
    indices = tuple(int(layer * depth + 0.5) if isinstance(layer, float) else layer for layer in wanted)
    for layer, index in zip(wanted, indices, strict=True):
        if not 0 <= index <= depth:
            raise ConfigError(
                f"layer={layer} is out of range; this LLM has layers 0 (input) to {depth}, as fractions 0.0 to 1.0."
            )
    if not indices or len(set(indices)) < len(indices):
        raise ConfigError(f"layer={wanted} names no layer or one twice in this LLM of {depth}.")
    return indices


class LayerTap:
    """Keeps the output of decoder block `l` (1-based) of each forward until it is taken.

    The index is that of Hugging Face's `hidden_states`: 0 is the input embeddings, l the output of
    block l, and the last one the output of the *final norm* (release, llava_llama.py:197-239). Forward
    hooks sit outside gradient checkpointing, so a recomputed block does not fire them again. They stay until
    `close`, or until the end of a `with` block.
    """

    def __init__(self, language_model: "LlamaModel", layers: tuple[int, ...]) -> None:
        depth = len(language_model.layers)
        self._hidden: dict[int, torch.Tensor] = {}
        layers = layer_indices(layers, depth)
        self._hooks = [self._hook(language_model, layer, depth) for layer in layers]

    def __enter__(self) -> "LayerTap":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the hooks off the model, and forget what they kept."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._hidden = {}

    def take(self) -> dict[int, torch.Tensor]:
        """Hidden states [B, L, D] by layer index; forgets them, so that no step keeps another's graph alive."""
        taken, self._hidden = self._hidden, {}
        return taken

    def _hook(self, language_model: "LlamaModel", layer: int, depth: int) -> RemovableHandle:
        if layer == 0:
            first = language_model.layers[0]
            return first.register_forward_pre_hook(
                lambda _m, args, kwargs: self._keep(0, _hidden_input(args, kwargs)), with_kwargs=True
            )
        module: nn.Module = language_model.norm if layer == depth else language_model.layers[layer - 1]
        return module.register_forward_hook(lambda _m, _args, output: self._keep(layer, output))

    def _keep(self, layer: int, hidden_BLD: torch.Tensor) -> None:
        self._hidden[layer] = hidden_BLD


def _hidden_input(args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor]) -> torch.Tensor:
    return args[0] if args else kwargs["hidden_states"]
