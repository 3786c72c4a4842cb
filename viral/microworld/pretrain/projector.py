"""The projector, LLaVA's stage 1: tower and LLM stay frozen, `<image>caption` is the whole lesson."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from viral.data.images import normalise
from viral.data.tokens import IGNORE
from viral.microworld.parts import LLM, TOWER
from viral.microworld.pretrain.corpus import pictures, web_caption
from viral.microworld.pretrain.loop import adamw, optimise
from viral.microworld.pretrain.save import save_state
from viral.microworld.scenes import scene_rng
from viral.mllm.assemble import assemble_student
from viral.mllm.student import Student

CAPTION_STREAM = 14
FIRST_PICTURE = 100_000
"""Pictures of its own, not the tower's."""


def train_projector(
    out: Path,
    paths: dict[str, str],
    *,
    seed: int,
    steps: int = 400,
    batch: int = 32,
    num_pictures: int = 8000,
) -> float:
    """Train on frozen parts, keep linear_1 and linear_2 in the file `out`; returns the final caption loss."""
    torch.manual_seed(seed)
    student = assemble_student(paths[LLM], paths[TOWER], "random", seed=seed)
    model = student.model.requires_grad_(False).train()
    projector = model.model.multi_modal_projector.requires_grad_(True)
    scenes, squares = pictures(seed, num_pictures, FIRST_PICTURE)
    rng = np.random.default_rng([seed, CAPTION_STREAM])

    def loss_at(step: int) -> Tensor:
        rows = rng.integers(num_pictures, size=batch)
        captions = [
            web_caption(scenes[row], scene_rng(seed, CAPTION_STREAM, step, i)) for i, row in enumerate(rows)
        ]
        ids_BL, labels_BL = plain_batch(captions, student)
        pixels = normalise(squares[rows], student.pixels)
        return model(input_ids=ids_BL, labels=labels_BL, pixel_values=pixels, use_cache=False).loss

    loss = optimise([adamw(projector.parameters(), lr=2e-3, weight_decay=0.0)], loss_at, steps)
    save_state(projector, out)
    return loss


def plain_batch(captions: list[str], student: Student) -> tuple[Tensor, Tensor]:
    """LLaVA's `plain` style: `<s>`, image, caption, line end; only caption and line end are supervised."""
    tokenizer, image = student.tokenizer, student.image
    front = [tokenizer.bos_token_id] + [image.id] * image.count
    spoken = [tokenizer(f"{caption}\n", add_special_tokens=False)["input_ids"] for caption in captions]
    length = max(map(len, spoken))
    ids = [front + ids + [tokenizer.pad_token_id] * (length - len(ids)) for ids in spoken]
    labels = [[IGNORE] * len(front) + ids + [IGNORE] * (length - len(ids)) for ids in spoken]
    return torch.tensor(ids), torch.tensor(labels)
