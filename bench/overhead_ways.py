"""Steps that bench/overhead.py compares with the product's: logits everywhere, and all that the release does."""

import os

import torch
import torch.nn.functional as F
from torch import nn

from viral.data.tokens import IGNORE
from viral.mllm.aligned import MAIN, AlignedMllm, Losses
from viral.mllm.visual import VisualTokens
from viral.objectives.align import negative_cosine


class AllLogits(AlignedMllm):
    """Logits of every token, as LLaVA computes them, and cross-entropy over those with a label."""

    def _language_loss(self, last_BLD: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits_BLV = self._parts["lm_head"](last_BLD).float()
        return F.cross_entropy(logits_BLV[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE)


class ReleaseStyle(AllLogits):
    """Hidden states of all layers, head and logits on all tokens; then a wait, a print and an emptied cache.

    What the published trainer does in a step besides its teacher; its mistakes (another head, a scrambled teacher) cost
    nothing and are left out, so that its losses can be compared.
    """

    def forward(self, input_ids, labels, pixels, targets, **_) -> Losses:  # noqa: ANN001, ANN003
        """As the product's."""
        visual = VisualTokens(input_ids == self.image_token_id)
        projected_NTD = self.core.multi_modal_projector(self.visual_features(pixels))
        embeds_BLD = self.core.get_input_embeddings()(input_ids.masked_fill(visual.is_image_BL, 0))
        decoded = self.core.language_model(
            inputs_embeds=visual.scatter(embeds_BLD, projected_NTD),
            use_cache=False,
            output_hidden_states=True,
        )
        lm, term = self._language_loss(decoded.last_hidden_state, labels), self.loss_terms[MAIN]
        head: nn.Module = term.heads[0]
        predicted_BLC = head(decoded.hidden_states[term.layers[0]].float())
        losses_N = negative_cosine(visual.gather(predicted_BLC, projected_NTD.shape[1], None), targets[MAIN])
        self._hidden = decoded.hidden_states  # held until the step is over
        align = losses_N.mean()
        return Losses(lm + term.weight * align, lm, {MAIN: align})

    def after_step(self, losses: Losses) -> None:
        """What follows its update."""
        with open(os.devnull, "w") as log:
            print(
                f"{losses.lm.item()} {losses.align.item() if losses.align is not None else None}",
                file=log,
                flush=True,
            )
        self._hidden = None
        if losses.lm.device.type == "cuda":
            torch.cuda.empty_cache()
