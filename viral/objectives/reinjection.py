"""Adding to hidden states what they were made of: a hook on a decoder block, the same in training and generation.

A forward hook sits outside gradient checkpointing and inside whatever wraps the model, and it sees prompts as well as
single tokens beside a key-value cache. Shapes: B sequences, L tokens, D LLM width; N images, T tokens, V tower width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from viral.errors import ConfigError
from viral.mllm.tiling import token_map
from viral.mllm.visual import VisualTokens
from viral.objectives.term import Shape, TermSettings


class Reinjection(nn.Module):
    """Adds `addition` to the output of each of its blocks. It has no loss but that of the language.

    The release adds it after block l and before the next, also after the last, where the final norm follows.
    """

    def __init__(self, settings: TermSettings, shape: Shape) -> None:
        super().__init__()
        self.layers, self.scope = settings.layers, settings.scope
        self._visual: VisualTokens | None = None
        self._features_NTV: torch.Tensor | None = None
        self._addition_BLD: torch.Tensor | None = None

    def attach(self, core: Any) -> None:  # noqa: ANN401 - of a LLaVA or LLaVA-NeXT
        """Hook into the decoder and the projector of a LLaVA, for good.

        Raises:
            ConfigError: layer 0, which already is what would be added.
        """
        if 0 in self.layers:
            raise ConfigError(
                "Reinjection comes after a block, so layer 0 is none of its; set a layer from 1."
            )
        core.register_forward_pre_hook(self._find_images(core.config), with_kwargs=True)
        core.multi_modal_projector.register_forward_pre_hook(self._keep_features)
        core.language_model.register_forward_pre_hook(self._prepare, with_kwargs=True)
        core.language_model.register_forward_hook(self._forget)
        for layer in self.layers:
            core.language_model.layers[layer - 1].register_forward_hook(self._add)

    def place(self, visual: VisualTokens) -> None:
        """Say where the images are in the sequences of the coming forward pass."""
        self._visual = visual

    def addition(
        self, embeds_BLD: torch.Tensor, visual: VisualTokens, features_NTV: torch.Tensor | None
    ) -> torch.Tensor:
        """What is added [B, L, D], given the LLM's input; features only where images enter."""
        raise NotImplementedError

    def _find_images(self, config: Any) -> Callable[..., None]:  # noqa: ANN401 - of a LLaVA
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
            sizes = kwargs.get("image_sizes")
            tokens = None if sizes is None else token_map(config, sizes)
            self.place(VisualTokens(ids == config.image_token_id, tokens))

        return hook

    def _keep_features(self, _module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        self._features_NTV = args[0]

    def _prepare(self, _module: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        assert self._visual is not None
        self._addition_BLD = self.addition(kwargs["inputs_embeds"], self._visual, self._features_NTV)

    def _add(self, _module: nn.Module, _args: tuple[Any, ...], hidden_BLD: torch.Tensor) -> torch.Tensor:
        assert self._addition_BLD is not None
        return hidden_BLD + self._addition_BLD.to(hidden_BLD.dtype)

    def _forget(self, *_: object) -> None:
        self._visual = self._features_NTV = self._addition_BLD = None
