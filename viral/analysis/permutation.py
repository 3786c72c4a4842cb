"""Shuffle the vision tower's patches before the projector: what is in the picture stays, where it is goes.

Shapes: N squares, T patches of each, V tower width, S side of a square in px.
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
    """Inside, the tower gives the patches of each picture in a random order of its own, fixed by `seed`.

    The order is keyed on the seed and the square picture that the tower gets. So it depends neither on batches and
    their order, nor on precision and device, nor on how often a picture is looked at; two questions about one picture
    see the same order. Positions and text stay as they are (paper, Appendix A).
    """
    layer, num_patches = student.model.config.vision_feature_layer, student.image.count

    def shuffle(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:  # noqa: ANN401
        pixels_NCSS = args[0] if args else kwargs["pixel_values"]
        orders = [patch_order(seed, square, num_patches) for square in squares(pixels_NCSS, student.pixels)]
        states = list(output.hidden_states)
        states[layer] = _reordered(states[layer], torch.from_numpy(np.stack(orders)))
        output.hidden_states = tuple(states)
        return output

    hook = student.model.model.vision_tower.register_forward_hook(shuffle, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def patch_order(seed: int, square: np.ndarray, num_patches: int) -> np.ndarray:
    """A permutation [T] of the patches, drawn from `seed` and the bytes of a picture."""
    digest = hashlib.sha256(seed.to_bytes(8, "little") + square.tobytes()).digest()
    return np.random.default_rng(int.from_bytes(digest, "little")).permutation(num_patches)


def squares(pixels_NCSS: torch.Tensor, spec: PixelSpec) -> np.ndarray:
    """The uint8 squares [N, S, S, 3] that normalised pixels were made of; exact from float16 on."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    scaled_NCSS = 255 * (pixels_NCSS.float().cpu() * std + mean)
    restored_NCSS = scaled_NCSS.round().clamp(0, 255).to(torch.uint8)
    restored: np.ndarray = restored_NCSS.movedim(1, -1).contiguous().numpy()
    return restored


def _reordered(states: torch.Tensor, order_NT: torch.Tensor) -> torch.Tensor:
    """A tower's states [N, class tokens + T, V] with the patches in another order; class tokens stay in front."""
    order_NT1 = order_NT.to(states.device)[:, :, None]
    first = states.shape[1] - order_NT.shape[1]
    patches_NTV = states[:, first:]
    return torch.cat([states[:, :first], patches_NTV.gather(1, order_NT1.expand_as(patches_NTV))], dim=1)
