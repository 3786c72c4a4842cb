"""Shuffle the vision tower's patches before the projector: what is in the picture stays, where it is goes.

Shapes: N pictures, T patches of each, V tower width, S side of the square in px.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from viral.data.images import PixelSpec
from viral.mllm.student import Student


@contextmanager
def permuted_patches(student: Student, seed: int) -> Iterator[None]:
    """Inside, the student sees the patches of each picture in a random order of its own, fixed by `seed`.

    The order is keyed on the seed and the square picture the tower gets. So it depends neither on batches and their
    order, nor on precision and device, nor on how often a picture is encoded; two questions about one picture see
    the same order. Positions and text stay as they are (paper, Appendix A).
    """
    core, orders = student.model.model, list[np.ndarray]()

    def look(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        pixels_NCSS = args[0] if args else kwargs["pixel_values"]
        orders.extend(
            patch_order(seed, square, student.image.count) for square in squares(pixels_NCSS, student.pixels)
        )

    def shuffle(_module: nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        (features_NTV,) = args
        order_NT = torch.from_numpy(np.stack(orders[: len(features_NTV)])).to(features_NTV.device)
        del orders[: len(features_NTV)]
        return (features_NTV.gather(1, order_NT[:, :, None].expand_as(features_NTV)),)

    hooks = [
        core.vision_tower.register_forward_pre_hook(look, with_kwargs=True),
        # First of its hooks, so that whatever else reads the features there gets the shuffled ones.
        core.multi_modal_projector.register_forward_pre_hook(shuffle, prepend=True),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def patch_order(seed: int, square: np.ndarray, num_patches: int) -> np.ndarray:
    """A permutation [T] of the patches, drawn from `seed` and the bytes of a picture."""
    digest = hashlib.sha256(seed.to_bytes(8, "little") + square.tobytes()).digest()
    return np.random.default_rng(int.from_bytes(digest, "little")).permutation(num_patches)


def squares(pixels_NCSS: torch.Tensor, spec: PixelSpec) -> np.ndarray:
    """The uint8 squares [N, S, S, 3] that normalised pixels were made of; exact from float16 on."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    scaled_NCSS = 255 * (pixels_NCSS.float().cpu() * std + mean)
    restored: np.ndarray = scaled_NCSS.round().clamp(0, 255).to(torch.uint8).movedim(1, -1).contiguous().numpy()
    return restored
