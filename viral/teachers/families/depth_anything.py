"""Depth Anything v2: the DINOv2 encoder inside, without the depth head."""

from dataclasses import replace

from torch import nn

from viral.teachers.families.family import State
from viral.teachers.families.timm_vit import TimmVit
from viral.teachers.profiles import Profile
from viral.teachers.spec import TeacherSpec

_ENCODER = "pretrained."


class DepthAnything(TimmVit):
    """`architecture` is timm's DINOv2 of the encoder's size. Source: arXiv 2406.09414."""

    def convert(self, state: State, backbone: nn.Module, spec: TeacherSpec, profile: Profile) -> State:
        """The encoder of the authors' checkpoint, which keeps DINOv2's names below `pretrained.`."""
        encoder = {
            key.removeprefix(_ENCODER): value for key, value in state.items() if key.startswith(_ENCODER)
        }
        if not encoder:
            raise ValueError(f"expected the authors' file {spec.hub_file}, whose keys begin with {_ENCODER}")
        return super().convert(encoder, backbone, spec, profile)

    def resolve(self, profile: Profile) -> Profile:
        """Its code, and the published one, resample position embeddings as DINOv2 does."""
        return replace(profile, pos_embed="dinov2")
