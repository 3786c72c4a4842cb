"""Segment Anything's image encoder: the picture lies on a larger canvas of zeros, its tokens are cut out again."""

from typing import Any

from torch import Tensor, nn

from viral.teachers.families.timm_vit import TimmVit
from viral.teachers.profiles import Profile
from viral.teachers.spec import TeacherSpec


class Sam(TimmVit):
    """`kwargs["img_size"]` is the canvas, `image_size` the picture; tokens are the output of the neck.

    SAM's own statistics are ImageNet's in units of 0 to 255, hence the same numbers for values in [0, 1].
    Source: arXiv 2304.02643; the crop of a padded canvas follows AM-RADIO (arXiv 2312.06709).
    """

    knobs = ("placement",)

    def create(self, spec: TeacherSpec) -> nn.Module:
        """The encoder for its canvas."""
        import timm

        model: nn.Module = timm.create_model(spec.architecture, num_classes=0, **spec.kwargs)
        return model

    def tokens(self, backbone: nn.Module, pixels_BCSS: Tensor, spec: TeacherSpec, profile: Profile) -> Tensor:
        """Neck features [B, N, D] of the part of the canvas where the picture lies."""
        canvas, side = spec.kwargs["img_size"], spec.image_size
        start = (canvas - side) // 2 if profile.placement == "centre" else 0
        assert start % spec.patch_size == 0, spec
        canvas_BCSS = pixels_BCSS.new_zeros(*pixels_BCSS.shape[:2], canvas, canvas)
        canvas_BCSS[..., start : start + side, start : start + side] = pixels_BCSS
        encoder: Any = backbone
        map_BDRC: Tensor = encoder.forward_features(canvas_BCSS)
        first, rows = start // spec.patch_size, spec.grid[0]
        cut_BDRC = map_BDRC[..., first : first + rows, first : first + rows]
        return cut_BDRC.flatten(2).transpose(1, 2)
