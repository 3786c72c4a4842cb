"""The tower: the vision half of a CLIP trained on global captions, so that it keeps what captions tell.

One liberty: the picture's embedding is read from the mean patch token instead of the class token. Gradients then
reach every patch at once, and shapes are learned in minutes; CLIP had four hundred million pairs to get there.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from viral.data.images import PixelSpec, normalise
from viral.microworld.descriptions import global_caption
from viral.microworld.models import IMAGE_SIZE, clip_config, image_processor
from viral.microworld.pretrain.corpus import pictures
from viral.microworld.pretrain.loop import optimise
from viral.microworld.pretrain.save import save_model
from viral.microworld.scenes import Scene, sample_portrait, sample_scene, scene_rng

if TYPE_CHECKING:
    from transformers import CLIPModel, PreTrainedTokenizerFast

CAPTION_STREAM = 12
PIXELS = PixelSpec(size=IMAGE_SIZE)


def train_tower(
    out: Path,
    tokenizer: "PreTrainedTokenizerFast",
    *,
    seed: int,
    steps: int = 500,
    batch: int = 64,
    num_pictures: int = 8000,
) -> float:
    """Train the pair, keep its vision half in `out`; returns the final contrastive loss."""
    from transformers import CLIPModel, CLIPVisionModel

    scenes, squares = pictures(seed, num_pictures, sample=web_scene)
    torch.manual_seed(seed)
    pair = CLIPModel(clip_config(tokenizer)).train()
    rng = np.random.default_rng([seed, CAPTION_STREAM])

    def loss_at(step: int) -> Tensor:
        rows = rng.integers(num_pictures, size=batch)
        captions = [
            global_caption(scenes[row], scene_rng(seed, CAPTION_STREAM, step, i)) + tokenizer.eos_token
            for i, row in enumerate(rows)
        ]
        return contrastive_loss(pair, normalise(_mirrored(squares[rows], rng), PIXELS), captions, tokenizer)

    loss = optimise(pair.parameters(), loss_at, steps=steps, lr=1.5e-3)
    tower = CLIPVisionModel(pair.config.vision_config)
    tower.load_state_dict(pair.vision_model.state_dict(), strict=True)
    save_model(tower, out)
    image_processor().save_pretrained(out)
    return loss


def web_scene(rng: np.random.Generator) -> Scene:
    """Half portraits of one thing, half crowded scenes."""
    return sample_portrait(rng) if rng.random() < 0.5 else sample_scene(rng)


def contrastive_loss(
    pair: "CLIPModel", pixels_BCHW: Tensor, captions: list[str], tokenizer: "PreTrainedTokenizerFast"
) -> Tensor:
    """CLIP's symmetric cross-entropy, the picture read from its mean patch token."""
    text = tokenizer(captions, padding=True, return_tensors="pt")
    words_BD = pair.text_model(text["input_ids"], attention_mask=text["attention_mask"]).pooler_output
    patches_BND = pair.vision_model(pixels_BCHW).last_hidden_state[:, 1:]
    sights_BD = pair.vision_model.post_layernorm(patches_BND.mean(dim=1))
    words_BD = F.normalize(pair.text_projection(words_BD), dim=-1)
    sights_BD = F.normalize(pair.visual_projection(sights_BD), dim=-1)
    logits_BB = pair.logit_scale.exp() * sights_BD @ words_BD.T
    gold_B = torch.arange(len(captions))
    return (F.cross_entropy(logits_BB, gold_B) + F.cross_entropy(logits_BB.T, gold_B)) / 2


def _mirrored(squares_BSSC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the pictures mirrored; a global caption says nothing about left and right."""
    mirrored = squares_BSSC.copy()
    flip = rng.random(len(mirrored)) < 0.5
    mirrored[flip] = mirrored[flip][:, :, ::-1]
    return mirrored
