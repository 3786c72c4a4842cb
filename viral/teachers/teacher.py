"""A loaded teacher: uint8 squares in, patch tokens out, and a fingerprint of everything that shaped them.

Shapes: B images, S square side in px, N patch tokens (row-major), R rows and C columns of them, D teacher width.
"""

import hashlib
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viral.data.images import CLIP_MEAN, CLIP_STD
from viral.teachers.families.family import Family
from viral.teachers.profiles import Profile
from viral.teachers.spec import TeacherSpec

SQUARE_MODE = "pad"
"""How pictures become squares before a teacher sees them, if nothing else is said: the student's training geometry."""


class Teacher(nn.Module):
    """A frozen vision model in evaluation mode. Build one with `load_teacher`."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        spec: TeacherSpec,
        profile: Profile,
        family: Family,
        backbone: nn.Module,
        origin: dict[str, Any],
        grid: int | None = None,
        square: str = SQUARE_MODE,
    ) -> None:
        super().__init__()
        self.spec, self.profile, self.family, self.origin = spec, profile, family, origin
        self.square = square
        self.grid = spec.grid if grid is None else (grid, grid)
        self.backbone = backbone.eval().requires_grad_(False)
        self.statistics = (CLIP_MEAN, CLIP_STD) if profile.normalisation == "clip" else (spec.mean, spec.std)
        self.register_buffer("mean", torch.tensor(self.statistics[0]), persistent=False)
        self.register_buffer("std", torch.tensor(self.statistics[1]), persistent=False)

    @torch.no_grad()
    def forward(self, squares_BSSC: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] of side `square_size`, on any device -> float32 [B, N, D] on the `grid`."""
        assert squares_BSSC.shape[1:] == (self.square_size, self.square_size, 3), squares_BSSC.shape
        scaled = squares_BSSC.to(self.mean.device, non_blocking=True).float() / 255.0
        pixels_BCSS = ((scaled - self.mean) / self.std).movedim(-1, 1).to(self.dtype)
        if self.square_size != self.spec.image_size:
            pixels_BCSS = F.interpolate(pixels_BCSS, size=(self.spec.image_size,) * 2, mode="bilinear")
        tokens_BND = self.family.tokens(self.backbone, pixels_BCSS, self.spec, self.profile).float()
        return (
            tokens_BND
            if self.grid == self.spec.grid
            else resample_tokens(tokens_BND, self.spec.grid, self.grid)
        )

    @property
    def square_size(self) -> int:
        """Side of the squares to give, in px."""
        enlarges = self.profile.resize == "tensor" and self.spec.release_size is not None
        return self.spec.release_size if enlarges and self.spec.release_size else self.spec.image_size

    @property
    def fill(self) -> tuple[int, int, int]:
        """Colour of the bars around the picture in a square."""
        return self.family.fill(self.spec)

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and arithmetic."""
        return next(self.backbone.parameters()).dtype

    def fingerprint(self) -> dict[str, Any]:
        """Everything that shapes the features, as JSON values; knobs that this teacher does not have are left out.

        The hash is taken from the tensors in memory now, so weights changed after loading are noticed.
        """
        import PIL

        library = self.family.library
        facts = {
            "teacher": self.spec.name,
            f"{library}_id": self.spec.architecture,
            f"{library}_kwargs": dict(self.spec.kwargs),
            **self.origin,
            "weights_sha256": hash_tensors(self.backbone.state_dict()),
            "profile": self.profile.name,
            "normalisation": self.profile.normalisation,
            "mean": list(self.statistics[0]),
            "std": list(self.statistics[1]),
            "scramble_seed": self.profile.scramble_seed,
            "dtype": str(self.dtype).removeprefix("torch."),
            "image_size": self.spec.image_size,
            "patch_size": self.spec.patch_size,
            "square": self.square,
            "fill": list(self.fill),
            **{knob: getattr(self.profile, knob) for knob in self.family.knobs},
            "torch": torch.__version__.split("+")[0],  # the part after + names the build: +cpu, +cu132
            library: import_module(library).__version__,
            "pillow": PIL.__version__,
        }
        if self.spec.release_size is not None:
            facts |= {"resize": self.profile.resize, "square_size": self.square_size}
        if (self.spec.layer, self.spec.norm) != (-1, True):
            facts |= {"layer": self.spec.layer, "norm": self.spec.norm}
        if self.grid != self.spec.grid:
            facts["grid"] = list(self.grid)
        return facts


def resample_tokens(tokens_BND: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Row-major tokens of one grid on another: bilinear, antialiased when the grid shrinks."""
    grid_BDRC = tokens_BND.transpose(1, 2).unflatten(2, old)
    resampled_BDRC = F.interpolate(grid_BDRC, size=new, mode="bilinear", antialias=True)
    return resampled_BDRC.flatten(2).transpose(1, 2)


def hash_tensors(state: dict[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in name order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
