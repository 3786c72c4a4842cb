"""LLaVA-NeXT: which tiles a model's configuration asks for, and how its visual tokens follow from pictures' sizes."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from viral.data.tiles import TILINGS, Tiling, tile_tokens
from viral.errors import WeightsError
from viral.mllm.visual import TokenMap

if TYPE_CHECKING:
    from transformers import PretrainedConfig

TILED = "llava_next"
"""`model_type` of the models that see tiles."""

NEWLINE = "image_newline"
"""Their learned token that ends a row of tiles."""


def tiling_of(config: "PretrainedConfig", source: str = "this model") -> Tiling | None:
    """The tiling of a LLaVA-NeXT; None for a plain LLaVA.

    Raises:
        WeightsError: its resolutions are none that we know.
    """
    if config.model_type != TILED:
        return None
    found = [list(pinpoint) for pinpoint in config.image_grid_pinpoints]
    for name in TILINGS:
        tiling = Tiling(name=name, side=config.vision_config.image_size)
        if tiling.pinpoints == found:
            return tiling
    raise WeightsError(
        f"{source}: its image_grid_pinpoints {found} are no tiling in squares of {config.vision_config.image_size} px "
        f"that we know. Known: {', '.join(TILINGS)}."
    )


def token_map(config: "PretrainedConfig", sizes_N2: torch.Tensor) -> TokenMap:
    """How the views' tokens become the visual tokens of tiled pictures of these heights and widths."""
    tiling = tiling_of(config)
    assert tiling is not None
    patches = config.vision_config.image_size // config.vision_config.patch_size
    indices, lengths, num_views = [np.empty(0, np.int64)], [], 0
    for height, width in sizes_N2.tolist():
        view, patch = tile_tokens(tiling, (height, width), patches)
        indices.append(np.where(view < 0, -1, (num_views + view) * patches**2 + patch))
        lengths.append(int((view >= 0).sum()))
        num_views += tiling.num_views((height, width))
    return TokenMap(torch.from_numpy(np.concatenate(indices)), lengths)
