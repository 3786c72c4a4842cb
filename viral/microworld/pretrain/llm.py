"""The language model: a small Llama that reads about scenes before it ever sees one.

It meets maps with captions as plain text, and conversations about maps and descriptions in the Vicuna format with
both system wordings: counting, comparing places, option letters, yes and no. Answers weigh more than the rest of
the text, as a chat-tuned model's would.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from viral.data.tokens import IGNORE, ImageTokens, encode_dialogue, truncate
from viral.microworld.cells import text_map
from viral.microworld.models import LLM_CONTEXT, llm_config
from viral.microworld.pretrain.corpus import conversation, web_caption
from viral.microworld.pretrain.loop import adamw, optimise
from viral.microworld.pretrain.muon import Muon
from viral.microworld.pretrain.save import save_model
from viral.microworld.scenes import sample_scene, scene_rng

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CAPTION_STREAM = 13
CAPTION_SHARE = 0.2
POOL = 8
"""Batches that are sorted by length together."""
TEXT_WEIGHT = 0.1
"""Weight of a token that is not part of an answer."""
NO_IMAGE = ImageTokens(id=-1, count=0)
Encoded = tuple[list[int], list[float]]


def train_llm(
    out: Path, tokenizer: "PreTrainedTokenizerFast", *, seed: int, steps: int = 2500, batch: int = 16
) -> float:
    """Train, keep model and tokenizer in `out`; returns the final weighted loss."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    model = LlamaForCausalLM(llm_config(tokenizer)).train()

    batches = _batches(tokenizer, seed, batch)

    def loss_at(step: int) -> Tensor:
        ids_BL, weights_BL = next(batches)
        logits_BLV = model(input_ids=ids_BL, use_cache=False).logits[:, :-1]
        losses_BL = F.cross_entropy(logits_BLV.transpose(1, 2), ids_BL[:, 1:], reduction="none")
        return (losses_BL * weights_BL[:, 1:]).sum() / weights_BL[:, 1:].sum()

    inner = {
        name: weight for name, weight in model.named_parameters() if "layers" in name and weight.ndim == 2
    }
    outer = [weight for name, weight in model.named_parameters() if name not in inner]
    loss = optimise([adamw(outer, lr=3e-3), Muon(inner.values(), lr=5e-3)], loss_at, steps)
    save_model(model, out)
    tokenizer.save_pretrained(out)
    return loss


def encode_text(index: int, tokenizer: "PreTrainedTokenizerFast", seed: int) -> Encoded:
    """Token ids and loss weights of one text."""
    rng = scene_rng(seed, CAPTION_STREAM, index)
    if rng.random() < CAPTION_SHARE:
        scene = sample_scene(rng)
        drawn = tokenizer(text_map(scene))["input_ids"]
        told = tokenizer(f"{web_caption(scene, rng)}\n", add_special_tokens=False)["input_ids"]
        return drawn + told, [TEXT_WEIGHT] * len(drawn) + [1.0] * len(told)
    template, turns = conversation(index, seed)
    ids, labels = encode_dialogue(turns, tokenizer, template, NO_IMAGE)
    ids, labels = truncate(ids, labels, None, LLM_CONTEXT)
    return ids, [TEXT_WEIGHT if label == IGNORE else 1.0 for label in labels]


def _batches(tokenizer: "PreTrainedTokenizerFast", seed: int, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of texts of similar length; every text is new."""
    shuffle = np.random.default_rng(seed)
    for pool in itertools.count():
        size = batch * POOL
        encoded = [encode_text(pool * size + row, tokenizer, seed) for row in range(size)]
        encoded.sort(key=lambda text: len(text[0]))
        for start in shuffle.permutation(POOL) * batch:
            yield _pad(encoded[start : start + batch], tokenizer.pad_token_id)


def _pad(encoded: list[Encoded], pad: int) -> tuple[Tensor, Tensor]:
    """Right-padded ids and weights [B, L]; padding weighs nothing, and a causal model never looks at it."""
    length = max(len(ids) for ids, _ in encoded)
    ids_BL = np.full((len(encoded), length), pad)
    weights_BL = np.zeros((len(encoded), length), dtype=np.float32)
    for row, (ids, weights) in enumerate(encoded):
        ids_BL[row, : len(ids)] = ids
        weights_BL[row, : len(ids)] = weights
    return torch.from_numpy(ids_BL), torch.from_numpy(weights_BL)
