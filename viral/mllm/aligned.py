"""The one module a training step runs: projector, LLM, taps, heads and all losses in one forward.

Shapes: B sequences, L tokens, N images in the batch (all their views, where they are tiled), T patches of each, D LLM
width, V tower width, C width of a target.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from viral.data.tokens import IGNORE
from viral.mllm.language_loss import language_loss
from viral.mllm.packing import segments
from viral.mllm.tap import LayerTap
from viral.mllm.tiling import token_map
from viral.mllm.towers import patch_features
from viral.mllm.visual import VisualTokens
from viral.objectives import LossTerm, Reinjection

if TYPE_CHECKING:
    from transformers import LlavaModel, LlavaNextModel


MAIN = "align"
"""Name of the main term, which is also that of its settings."""

Argument = torch.Tensor | dict[str, torch.Tensor] | None
"""What the module's forward takes, by keyword."""

Averaging = Literal["image", "release"]
"""How a micro-batch's losses become one: the mean over its images, or over sequences with a single one."""


@dataclass(frozen=True)  # no slots: ZeRO-3 looks into what a module returns with vars()
class Losses:
    """Scalar losses of one micro-batch."""

    total: torch.Tensor
    lm: torch.Tensor
    terms: dict[str, torch.Tensor]
    """By name, without their weights; empty for a baseline or a batch without images."""
    skipped: int = 0
    """Images that averaging `release` left out of the terms, for they share their sequence."""

    @property
    def align(self) -> torch.Tensor | None:
        """The main term's loss; None for a baseline or a batch without images."""
        return self.terms.get(MAIN)


class AlignedMllm(nn.Module):
    """A LLaVA (plain or PEFT-wrapped) with its objectives beside it, never inside it.

    Transformers re-initialises modules it does not know when it loads a model; keeping the heads out of
    the model, and the teacher out of the process, makes that impossible.
    """

    mllm: Any

    def __init__(
        self,
        mllm: Any,  # noqa: ANN401 - a LLaVA, with PEFT around it or not
        terms: Mapping[str, LossTerm | Reinjection],
        averaging: Averaging = "image",
        logits_at_once: int = sys.maxsize,
    ) -> None:
        """`logits_at_once`: positions whose logits may be in memory together."""
        super().__init__()
        from transformers import LlavaModel, LlavaNextModel

        self.mllm, self.terms, self.averaging = mllm, nn.ModuleDict(terms), averaging
        self.logits_at_once = logits_at_once
        self._reinjections = [term for term in terms.values() if isinstance(term, Reinjection)]
        self.loss_terms = {name: term for name, term in terms.items() if isinstance(term, LossTerm)}
        core = next(module for module in mllm.modules() if isinstance(module, LlavaModel | LlavaNextModel))
        # In a dict, so that nn.Module does not register them a second time.
        self._parts = {"core": core, "lm_head": mllm.get_output_embeddings()}
        for reinjection in self._reinjections:  # before the tap, which then sees what the next block sees
            reinjection.attach(core)
        layers = sorted({layer for term in self.loss_terms.values() for layer in term.layers})
        self._tap = LayerTap(core.language_model, tuple(layers)) if layers else None
        self.image_token_id = core.config.image_token_id

    @property
    def core(self) -> "LlavaModel | LlavaNextModel":
        """The tower, projector and decoder, whatever wraps them."""
        return self._parts["core"]

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        pixels: torch.Tensor | None = None,
        targets: dict[str, torch.Tensor] | None = None,
        cu_seq_lens: torch.Tensor | None = None,
        features: torch.Tensor | None = None,
        sizes: torch.Tensor | None = None,
    ) -> Losses:
        """Right-padded ids and labels [B, L]; pixels [N, 3, S, S]; targets [N, T, C] by term -> losses.

        `features` [N, T, V], what the tower makes of the pixels, may stand in their place: then no tower is needed.
        With `cu_seq_lens` [samples + 1] the batch is one packed row; the model must be in `packing.use_packing`.
        A model that sees tiles needs the `sizes` [images, 2] of its pictures: N then counts views.

        `total = lm + sum of weight * term` (Eq. 5). Without images there are no terms, and projector and heads
        still take part with weight 0, so that every rank reduces the same gradients.
        """
        core = self.core
        tokens = None if sizes is None else token_map(core.config, sizes)
        visual = VisualTokens(input_ids == self.image_token_id, tokens)
        images = pixels if features is None else features
        assert images is not None
        features_NTV = self._features(images, seen=features is not None)
        projected_NTD = core.multi_modal_projector(features_NTV)
        # The image token may lie outside the vocabulary, so it is looked up as token 0 and then replaced.
        embeds_BLD = core.get_input_embeddings()(input_ids.masked_fill(visual.is_image_BL, 0))
        newline_D = None if tokens is None else core.image_newline
        embeds_BLD = visual.scatter(embeds_BLD, projected_NTD, newline_D)
        for reinjection in self._reinjections:
            reinjection.place(visual)
        # No attention mask: padding comes last, so a causal decoder never looks at it, and attention without a
        # mask is the fast kind.
        packed = {} if cu_seq_lens is None else segments(cu_seq_lens, embeds_BLD.device)
        decoded = core.language_model(inputs_embeds=embeds_BLD, use_cache=False, **packed)
        last_BLD = decoded.last_hidden_state
        lm = self._language_loss(last_BLD, labels)
        if self._tap is None:
            return Losses(lm, lm, {})
        sources = {"tower": features_NTV, "projected": projected_NTD}
        num_images = visual.num_images(images)
        return self._with_terms(lm, self._tap.take(), visual, sources, targets or {}, num_images)

    def _with_terms(
        self,
        lm: torch.Tensor,
        hidden: dict[int, torch.Tensor],
        visual: VisualTokens,
        sources: dict[str, torch.Tensor],
        targets: dict[str, torch.Tensor],
        num_images: int,
    ) -> Losses:
        """Add the terms' losses, from hidden states [B, L, D] by layer; images that do not count have no part."""
        num_tokens = sources["tower"].shape[1]
        kept_N = None
        if self.averaging == "release" and num_images:
            kept_N = visual.alone(num_tokens)
        num_kept = num_images if kept_N is None else int(kept_N.sum())
        total, terms = lm, {}
        if num_kept == 0:
            first = {layer: hidden_BLD[:1, :1] for layer, hidden_BLD in hidden.items()}
            for term in self.loss_terms.values():
                source = sources.get(term.source)
                blank = lm.new_ones(1, 1, term.target_dim) if source is None else source[:1, :1]
                total = total + 0.0 * term(first, blank).sum()
            return Losses(total, lm, {}, num_images)
        seen = {layer: visual.gather(hidden_BLD, num_tokens, kept_N) for layer, hidden_BLD in hidden.items()}
        for name, term in self.loss_terms.items():
            target_NTC = sources[term.source] if term.source in sources else targets[name]
            terms[name] = term(seen, visual.arrange(target_NTC, kept_N), visual.lengths).mean()
            total = total + term.weight * terms[name]
        return Losses(total, lm, terms, num_images - num_kept)

    def _features(self, images: torch.Tensor, *, seen: bool) -> torch.Tensor:
        """The tower's features, which `images` may already be, or one blank token where there is no image."""
        if len(images):
            return images if seen else self.visual_features(images)
        width, projector = self.core.config.vision_config.hidden_size, self.core.multi_modal_projector
        return images.new_zeros(1, 1, width, dtype=next(projector.parameters()).dtype)

    def visual_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Frozen tower: [N, 3, S, S] -> patch features [N, T, Dv]."""
        return patch_features(self.core, pixels)

    def _language_loss(self, last_BLD: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Token-mean cross-entropy over the micro-batch; logits only where a label exists, in fp32."""
        shifted = labels[:, 1:]
        supervised = shifted != IGNORE
        if not bool(supervised.any()):
            return 0.0 * last_BLD.sum()
        hidden_ND, head = last_BLD[:, :-1][supervised], self._parts["lm_head"]
        return language_loss(hidden_ND, shifted[supervised], head, self.logits_at_once)
