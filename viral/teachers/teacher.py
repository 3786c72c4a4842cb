"""A loaded teacher: uint8 squares in, patch tokens out, and a fingerprint of everything that shaped them.

Shapes: B images, S square side in px, L all tokens, N patch tokens (row-major), D teacher width.
"""

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from viral.data.images import CLIP_MEAN, CLIP_STD, mean_fill
from viral.teachers.profiles import Profile
from viral.teachers.spec import TeacherSpec

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

SQUARE_MODE = "pad"
"""How pictures become squares before a teacher sees them: the student's training geometry."""


class Teacher(nn.Module):
    """A frozen timm ViT in evaluation mode. Build one with `load_teacher`."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, spec: TeacherSpec, profile: Profile, backbone: "VisionTransformer", origin: dict[str, Any]
    ) -> None:
        super().__init__()
        self.spec = spec
        self.profile = profile
        self.origin = origin
        self.backbone = backbone.eval().requires_grad_(False)
        self.statistics = (CLIP_MEAN, CLIP_STD) if profile.normalisation == "clip" else (spec.mean, spec.std)
        self.register_buffer("mean", torch.tensor(self.statistics[0]), persistent=False)
        self.register_buffer("std", torch.tensor(self.statistics[1]), persistent=False)

    @torch.no_grad()
    def forward(self, squares_BSSC: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] on any device -> float32 [B, N, D] patch tokens after the final norm."""
        scaled = squares_BSSC.to(self.mean.device, non_blocking=True).float() / 255.0
        pixels_BCSS = ((scaled - self.mean) / self.std).movedim(-1, 1)
        tokens_BLD: Tensor = self.backbone.forward_features(pixels_BCSS.to(self.dtype))
        return tokens_BLD[:, self.backbone.num_prefix_tokens :].float()

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and arithmetic."""
        return next(self.backbone.parameters()).dtype

    def fingerprint(self) -> dict[str, Any]:
        """Everything that shapes the features, as JSON values.

        The hash is taken from the tensors in memory now, so weights changed after loading are noticed.
        """
        import PIL
        import timm

        return {
            "teacher": self.spec.name,
            "timm_id": self.spec.timm_id,
            "timm_kwargs": dict(self.spec.timm_kwargs),
            **self.origin,
            "weights_sha256": hash_tensors(self.backbone.state_dict()),
            "profile": self.profile.name,
            "normalisation": self.profile.normalisation,
            "mean": list(self.statistics[0]),
            "std": list(self.statistics[1]),
            "pos_embed": self.profile.pos_embed,
            "scramble_seed": self.profile.scramble_seed,
            "dtype": str(self.dtype).removeprefix("torch."),
            "image_size": self.spec.image_size,
            "patch_size": self.spec.patch_size,
            "square": SQUARE_MODE,
            "fill": list(mean_fill(CLIP_MEAN)),
            "torch": torch.__version__.split("+")[0],  # the part after + names the build: +cpu, +cu132
            "timm": timm.__version__,
            "pillow": PIL.__version__,
        }


def hash_tensors(state: dict[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in name order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
