"""The one module a training step runs: projector, LLM, tap, head and both losses in one forward.

Shapes: B sequences, L tokens, N images in the batch, T visual tokens per image, D LLM width, C teacher width.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from viral.data.tokens import IGNORE
from viral.mllm.packing import segments
from viral.mllm.tap import LayerTap
from viral.objectives import Objective

if TYPE_CHECKING:
    from transformers import LlavaModel


@dataclass(frozen=True, slots=True)
class Losses:
    """Scalar losses of one micro-batch; `align` is None for a baseline or a batch without images."""

    total: torch.Tensor
    lm: torch.Tensor
    align: torch.Tensor | None


class AlignedMllm(nn.Module):
    """A LLaVA (plain or PEFT-wrapped) with its alignment head beside it, never inside it.

    Transformers re-initialises modules it does not know when it loads a model; keeping the head out of
    the model, and the teacher out of the process, makes that impossible.
    """

    mllm: Any

    def __init__(
        self,
        mllm: Any,  # noqa: ANN401 - a LLaVA, with PEFT around it or not
        head: nn.Module | None,
        objective: Objective | None,
        layer: int,
        weight: float,
    ) -> None:
        super().__init__()
        from transformers import LlavaModel

        assert (head is None) == (objective is None)
        self.mllm, self.head = mllm, head
        self.objective, self.layer, self.weight = objective, layer, weight
        core: LlavaModel = next(module for module in mllm.modules() if isinstance(module, LlavaModel))
        # In a dict, so that nn.Module does not register them a second time.
        self._parts = {"core": core, "lm_head": mllm.get_output_embeddings()}
        self._tap = LayerTap(core.language_model, (layer,)) if objective else None
        self.image_token_id = core.config.image_token_id

    @property
    def core(self) -> "LlavaModel":
        """The tower, projector and decoder, whatever wraps them."""
        return self._parts["core"]

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        pixels: torch.Tensor,
        target: torch.Tensor | None = None,
        cu_seq_lens: torch.Tensor | None = None,
    ) -> Losses:
        """Right-padded ids and labels [B, L]; pixels [N, 3, S, S]; target [N, T, C] -> losses of this micro-batch.

        With `cu_seq_lens` [samples + 1] the batch is one packed row; the model must be in `packing.use_packing`.

        `total = lm + weight * align` (Eq. 5). Without images `align` is None, and projector and head
        still take part with weight 0, so that every rank reduces the same gradients.
        """
        is_image_BL = input_ids == self.image_token_id
        embeds_BLD = self._embed(input_ids, is_image_BL, pixels)
        # No attention mask: padding comes last, so a causal decoder never looks at it, and attention without a
        # mask is the fast kind.
        packed = {} if cu_seq_lens is None else segments(cu_seq_lens, embeds_BLD.device)
        last_BLD = self.core.language_model(
            inputs_embeds=embeds_BLD, use_cache=False, **packed
        ).last_hidden_state
        lm = self._language_loss(last_BLD, labels)
        if self._tap is None or self.objective is None or self.head is None:
            return Losses(lm, lm, None)
        hidden_BLD = self._tap.take()[self.layer]
        if len(pixels) == 0:
            return Losses(lm + 0.0 * self.head(hidden_BLD[:, :1]).sum(), lm, None)
        assert target is not None
        hidden_NTD = hidden_BLD[is_image_BL].view(len(pixels), -1, hidden_BLD.shape[-1])
        align = self.objective(hidden_NTD, target, self.head)
        return Losses(lm + self.weight * align, lm, align)

    def visual_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Frozen tower: [N, 3, S, S] -> patch features [N, T, Dv] of its second-to-last layer."""
        layer = self.core.config.vision_feature_layer
        with torch.no_grad():
            tower = self.core.vision_tower
            states = tower(pixels.to(tower.dtype), output_hidden_states=True).hidden_states
        return states[layer][:, 1:]

    def _embed(
        self, input_ids: torch.Tensor, is_image_BL: torch.Tensor, pixels: torch.Tensor
    ) -> torch.Tensor:
        # The image token may lie outside the vocabulary, so it is looked up as token 0 and then replaced.
        embeds_BLD = self.core.get_input_embeddings()(input_ids.masked_fill(is_image_BL, 0))
        if len(pixels) == 0:
            width = self.core.config.vision_config.hidden_size
            blank = torch.zeros(1, 1, width, device=embeds_BLD.device, dtype=embeds_BLD.dtype)
            return embeds_BLD + 0.0 * self.core.multi_modal_projector(blank).sum()
        projected_NTD = self.core.multi_modal_projector(self.visual_features(pixels))
        assert int(is_image_BL.sum()) == projected_NTD.shape[0] * projected_NTD.shape[1]
        return embeds_BLD.masked_scatter(is_image_BL[..., None], projected_NTD.to(embeds_BLD.dtype))

    def _language_loss(self, last_BLD: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Token-mean cross-entropy over the micro-batch; logits only where a label exists, in fp32."""
        shifted = labels[:, 1:]
        supervised = shifted != IGNORE
        if not bool(supervised.any()):
            return 0.0 * last_BLD.sum()
        logits_NV = self._parts["lm_head"](last_BLD[:, :-1][supervised]).float()
        return F.cross_entropy(logits_NV, shifted[supervised])
