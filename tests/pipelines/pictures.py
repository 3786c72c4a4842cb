"""Small distinct pictures on disk."""

from pathlib import Path

import numpy as np
from PIL import Image

MICRO = {"vfm": "micro", "weights": "random", "device": "cpu", "workers": 0}
"""A request for the smallest real teacher there is."""


def write_pictures(folder: Path, count: int, *, size: tuple[int, int] = (40, 30), seed: int = 0) -> list[str]:
    """`count` distinct PNGs in `folder`; returns their names in order."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    names = [f"{index:03d}.png" for index in range(count)]
    for name in names:
        coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(folder / name)
    return names


def store_bytes(root: Path) -> dict[str, bytes]:
    """Every file of a store but its logs."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in files
        if path.relative_to(root).parts[0] != "logs"
    }
