"""The tower: the vision half of a CLIP that was taught words per patch, then trained on global captions.

CLIP had four hundred million pairs to find out which word belongs to which part of a picture. Here a lesson takes
their place: for most steps each patch learns the words for the shape and the colour it shows, in the layer a
LLaVA student reads, the last but one. All the rest is CLIP's own loss, which asks for no number, no place and no
thing apart from its neighbours.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viral.data.images import PixelSpec, normalise
from viral.microworld.descriptions import global_caption
from viral.microworld.models import IMAGE_SIZE, TOWER_WIDTH, clip_config, image_processor
from viral.microworld.pretrain.corpus import pictures
from viral.microworld.pretrain.loop import adamw, optimise
from viral.microworld.pretrain.save import save_model
from viral.microworld.pretrain.targets import patch_targets
from viral.microworld.scenes import COLOURS, SHAPES, Scene, sample_portrait, sample_scene, scene_rng

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CAPTION_STREAM = 12
WORDS = {"shape": len(SHAPES) + 1, "colour": len(COLOURS) + 1}
"""What the lesson teaches, and how many words there are; one more for plain ground."""
PIXELS = PixelSpec(size=IMAGE_SIZE)


def train_tower(
    out: Path,
    tokenizer: "PreTrainedTokenizerFast",
    *,
    seed: int,
    lesson_steps: int = 400,
    steps: int = 250,
    batch: int = 64,
    num_pictures: int = 8000,
) -> float:
    """Train the pair, keep its vision half in `out`; returns the final contrastive loss."""
    from transformers import CLIPModel, CLIPVisionModel

    scenes, squares = pictures(seed, num_pictures, sample=web_scene)
    labels = patch_targets(scenes)
    torch.manual_seed(seed)
    pair = CLIPModel(clip_config(tokenizer)).train()
    words = nn.ModuleDict({name: nn.Linear(TOWER_WIDTH, size) for name, size in WORDS.items()})
    rng = np.random.default_rng([seed, CAPTION_STREAM])

    def lesson_at(step: int) -> Tensor:
        rows = rng.integers(num_pictures, size=batch)
        seen = pair.vision_model(normalise(squares[rows], PIXELS), output_hidden_states=True)
        patches_BND = seen.hidden_states[-2][:, 1:]
        losses = [
            F.cross_entropy(
                words[name](patches_BND).flatten(0, 1), torch.from_numpy(labels[name][rows] + 1).flatten()
            )
            for name in WORDS
        ]
        return torch.stack(losses).sum()

    def contrast_at(step: int) -> Tensor:
        rows = rng.integers(num_pictures, size=batch)
        captions = [
            global_caption(scenes[row], scene_rng(seed, CAPTION_STREAM, step, i)) + tokenizer.eos_token
            for i, row in enumerate(rows)
        ]
        text = tokenizer(captions, padding=True, return_tensors="pt")
        pixels_BCHW = normalise(_mirrored(squares[rows], rng), PIXELS)
        return pair(
            input_ids=text["input_ids"],
            attention_mask=text["attention_mask"],
            pixel_values=pixels_BCHW,
            return_loss=True,
        ).loss

    seeing = [*pair.vision_model.parameters(), *words.parameters()]
    optimise([adamw(seeing, lr=1e-3)], lesson_at, lesson_steps)
    loss = optimise([adamw(pair.parameters(), lr=1e-3)], contrast_at, steps)
    tower = CLIPVisionModel(pair.config.vision_config)
    tower.load_state_dict(pair.vision_model.state_dict(), strict=True)
    save_model(tower, out)
    image_processor().save_pretrained(out)
    return loss


def web_scene(rng: np.random.Generator) -> Scene:
    """Half portraits of one thing, half crowded scenes."""
    return sample_portrait(rng) if rng.random() < 0.5 else sample_scene(rng)


def _mirrored(squares_BSSC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the pictures mirrored; a global caption says nothing about left and right."""
    mirrored = squares_BSSC.copy()
    flip = rng.random(len(mirrored)) < 0.5
    mirrored[flip] = mirrored[flip][:, :, ::-1]
    return mirrored
