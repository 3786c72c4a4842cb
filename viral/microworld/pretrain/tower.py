"""The tower: the vision half of a CLIP trained on global captions, so that it keeps what captions tell."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from viral.data.images import PixelSpec, normalise
from viral.microworld.descriptions import global_caption
from viral.microworld.models import IMAGE_SIZE, clip_config, image_processor
from viral.microworld.pretrain.corpus import pictures
from viral.microworld.pretrain.loop import optimise
from viral.microworld.scenes import scene_rng

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CAPTION_STREAM = 12
PIXELS = PixelSpec(size=IMAGE_SIZE)


def train_tower(
    out: Path,
    tokenizer: "PreTrainedTokenizerFast",
    *,
    seed: int,
    steps: int = 700,
    batch: int = 128,
    num_pictures: int = 12000,
) -> float:
    """Train the pair, keep its vision half in `out`; returns the final contrastive loss."""
    from transformers import CLIPModel, CLIPVisionModel

    scenes, squares = pictures(seed, num_pictures)
    torch.manual_seed(seed)
    pair = CLIPModel(clip_config(tokenizer)).train()
    rng = np.random.default_rng([seed, CAPTION_STREAM])

    def loss_at(step: int) -> torch.Tensor:
        rows = rng.integers(num_pictures, size=batch)
        captions = [
            global_caption(scenes[row], scene_rng(seed, CAPTION_STREAM, step, i)) + tokenizer.eos_token
            for i, row in enumerate(rows)
        ]
        text = tokenizer(captions, padding=True, return_tensors="pt")
        pixels = normalise(_mirrored(squares[rows], rng), PIXELS)
        return pair(
            pixel_values=pixels,
            input_ids=text["input_ids"],
            attention_mask=text["attention_mask"],
            return_loss=True,
        ).loss

    loss = optimise(pair.parameters(), loss_at, steps=steps, lr=1e-3)
    tower = CLIPVisionModel(pair.config.vision_config)
    tower.load_state_dict(pair.vision_model.state_dict(), strict=True)
    tower.half().save_pretrained(out)
    image_processor().save_pretrained(out)
    return loss


def _mirrored(squares_BSSC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the pictures mirrored; a global caption says nothing about left and right."""
    mirrored = squares_BSSC.copy()
    flip = rng.random(len(mirrored)) < 0.5
    mirrored[flip] = mirrored[flip][:, :, ::-1]
    return mirrored
