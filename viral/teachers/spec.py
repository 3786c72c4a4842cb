"""What a teacher is: one frozen record, enough to rebuild its features."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from viral.data.images import IMAGENET_MEAN, IMAGENET_STD
from viral.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherSpec:
    """A timm vision transformer and the picture it is fed.

    `timm_kwargs` go to `timm.create_model`; `mean` and `std` are the statistics the teacher was trained with;
    `weights_file` is what to load when the user names no weights (None: the hub weights of `timm_id`).
    """

    name: str
    timm_id: str
    dim: int
    timm_kwargs: Mapping[str, Any] = field(default_factory=dict)
    image_size: int = 336
    patch_size: int = 14
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    weights_file: Path | None = None

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            low = self.image_size // self.patch_size * self.patch_size
            raise ConfigError(
                f"Teacher {self.name!r}: image_size={self.image_size} is not a multiple of "
                f"patch_size={self.patch_size}; use {low} or {low + self.patch_size}."
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches; tokens are row-major."""
        side = self.image_size // self.patch_size
        return side, side
