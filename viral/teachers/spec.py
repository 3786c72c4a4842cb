"""What a teacher is: one frozen record, enough to rebuild its features. No heavy imports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from viral.data.statistics import IMAGENET_MEAN, IMAGENET_STD
from viral.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherSpec:
    """A vision model, the picture it is fed, the tokens that are kept, and where its weights come from."""

    name: str
    architecture: str
    """What the family's library calls it: a timm model, a transformers class."""
    dim: int
    """Channels of a token."""
    family: str = "timm"
    """Which code builds, loads and reads the model: a name of `viral.teachers.families`."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """For the library: arguments of `timm.create_model`, fields of the transformers config."""
    image_size: int = 336
    """Side of the square picture, in px."""
    patch_size: int = 14
    """Side of the part of the picture that becomes one token, in px."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    """Statistics of [0, 1] values that the teacher was trained with."""
    release_size: int | None = None
    """Side of the student's picture that the published code enlarges to `image_size`; None: no enlarging."""
    layer: int = -1
    """Whose output the tokens are: -1 is the last block, -2 the one before."""
    norm: bool = True
    """Whether the model's final norm follows."""
    length_matters: bool = False
    """Whether features are targets of more than a cosine, so that a codec has to keep their length, too."""
    weights_file: Path | None = None
    """Packaged weights, used when the user names none."""
    hub: str | None = None
    """Repository of the original weights on the Hugging Face hub."""
    hub_file: str = "model.safetensors"
    url: str | None = None
    """Another place to download a file from that `--weights` takes."""
    licence: str = "unknown"
    gflops: float | None = None
    """10^9 operations for one picture, two for each multiply-add: what `flops.count_flops` counts."""

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            low = self.image_size // self.patch_size * self.patch_size
            raise ConfigError(
                f"Teacher {self.name!r}: image_size={self.image_size} is not a multiple of "
                f"patch_size={self.patch_size}; use {low} or {low + self.patch_size}."
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches that the model itself gives; tokens are row-major."""
        side = self.image_size // self.patch_size
        return side, side
