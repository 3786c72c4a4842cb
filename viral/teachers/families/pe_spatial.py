"""Perception Encoder, spatial (Bolya et al., 2025): learned and rotary positions; the last block's output, no norm."""

from dataclasses import replace

from torch import nn

from viral.teachers.families.family import State
from viral.teachers.families.timm_port import TimmPort
from viral.teachers.profiles import Profile
from viral.teachers.spec import TeacherSpec


class PeSpatial(TimmPort):
    """timm's model with the authors' positions on a grid other than the trained one; reads Meta's files and timm's."""

    interpolation = "bilinear"
    antialias = False

    def create(self, spec: TeacherSpec) -> nn.Module:
        """Rotary positions count patches; timm would stretch a small grid to the extent of the trained one."""
        return super().create(replace(spec, kwargs={**spec.kwargs, "ref_feat_shape": spec.grid}))

    def convert(self, state: State, backbone: nn.Module, spec: TeacherSpec, profile: Profile) -> State:
        """Either layout in timm's; the filter leaves the grid of Meta's alone the first time."""
        if "patch_embed.proj.weight" not in state:
            state = super().convert(state, backbone, spec, profile)
        return super().convert(state, backbone, spec, profile)
