"""The teacher: a ViT trained densely, so that every patch token knows what it shows and where its thing lies.

Self-made supervision stands in for DINOv2's self-distillation. Five linear heads read the normalised patch
tokens: shape, colour, cover of the patch's quarters (edges), offset to the thing's middle (instances), and
which shapes have a thing's middle in the patch. A last term keeps the tokens' mean direction small: a cosine
target is worth little when all tokens share one large component.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viral.data.images import PixelSpec, normalise
from viral.microworld.cells import NOTHING
from viral.microworld.models import IMAGE_SIZE
from viral.microworld.pretrain.corpus import pictures
from viral.microworld.pretrain.loop import adamw, optimise
from viral.microworld.pretrain.save import save_state
from viral.microworld.pretrain.targets import patch_targets
from viral.microworld.scenes import COLOURS, SHAPES
from viral.microworld.teacher import MICRO_TEACHER

CENTRING = 0.5


class DenseHeads(nn.Module):
    """The teacher's training loss on patch tokens; thrown away afterwards."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.shape = nn.Linear(dim, len(SHAPES) + 1)
        self.colour = nn.Linear(dim, len(COLOURS) + 1)
        self.cover = nn.Linear(dim, 4)
        self.offset = nn.Linear(dim, 2)
        self.centres = nn.Linear(dim, len(SHAPES))

    def forward(self, tokens_BND: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """Sum of the five losses and the centring term."""
        seen_BN = targets["shape"] != NOTHING
        offset = F.smooth_l1_loss(self.offset(tokens_BND)[seen_BN], targets["offset"][seen_BN])
        centres = F.binary_cross_entropy_with_logits(
            self.centres(tokens_BND), targets["centres"].clamp(max=1)
        )
        mean_D = F.normalize(tokens_BND, dim=-1).mean(dim=(0, 1))
        return (
            F.cross_entropy(self.shape(tokens_BND).flatten(0, 1), targets["shape"].flatten() + 1)
            + F.cross_entropy(self.colour(tokens_BND).flatten(0, 1), targets["colour"].flatten() + 1)
            + F.mse_loss(self.cover(tokens_BND), targets["cover"])
            + offset
            + 5 * centres
            + CENTRING * mean_D.square().sum()
        )


def train_teacher(
    out: Path, *, seed: int, steps: int = 500, batch: int = 64, num_pictures: int = 8000
) -> float:
    """Train backbone and heads, keep the backbone in the file `out`; returns the final loss."""
    import timm

    scenes, squares = pictures(seed, num_pictures)
    labels = patch_targets(scenes)
    spec = MICRO_TEACHER
    pixels = PixelSpec(size=IMAGE_SIZE, mean=spec.mean, std=spec.std)
    torch.manual_seed(seed)
    backbone = timm.create_model(spec.architecture, num_classes=0, img_size=spec.image_size, **spec.kwargs)
    heads = DenseHeads(spec.dim)
    rng = np.random.default_rng(seed)

    def loss_at(step: int) -> Tensor:
        rows = rng.integers(num_pictures, size=batch)
        targets = {name: torch.from_numpy(label[rows]) for name, label in labels.items()}
        tokens_BND = backbone.forward_features(normalise(squares[rows], pixels))[
            :, backbone.num_prefix_tokens :
        ]
        return heads(tokens_BND, targets)

    loss = optimise([adamw([*backbone.parameters(), *heads.parameters()], lr=1e-3)], loss_at, steps)
    save_state(backbone, out)
    return loss
