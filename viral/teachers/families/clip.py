"""CLIP, through the same class as the student's tower, so that both give the same features."""

from dataclasses import replace

from torch import Tensor, nn

from viral.mllm.towers import trim_tower
from viral.teachers.families.family import State
from viral.teachers.families.hugging_face import HuggingFace
from viral.teachers.profiles import Profile
from viral.teachers.spec import TeacherSpec

# A CLIP checkpoint also holds the text half, and older ones a position_ids buffer.
_REST = ("text_model.", "text_projection", "visual_projection", "logit_scale")


class Clip(HuggingFace):
    """A `CLIPVisionModel`; tokens come from a block before the last, without the norm behind it."""

    def convert(self, state: State, backbone: nn.Module, spec: TeacherSpec, profile: Profile) -> State:
        """The vision half of a CLIP checkpoint, or a vision model's own."""
        vision = {key.removeprefix("vision_model."): value for key, value in state.items()}
        return {
            key: value
            for key, value in vision.items()
            if not key.startswith(_REST) and not key.endswith("embeddings.position_ids")
        }

    def resolve(self, profile: Profile) -> Profile:
        """The published code does not scramble CLIP: its target is the student's tower, loaded later."""
        return replace(profile, scramble_seed=None)

    def trim(self, backbone: nn.Module, spec: TeacherSpec) -> nn.Module:
        """Without the blocks behind `spec.layer`."""
        trim_tower(backbone, spec.layer)
        return backbone

    def tokens(self, backbone: nn.Module, pixels_BCSS: Tensor, spec: TeacherSpec, profile: Profile) -> Tensor:
        """Output of the last block left; `CLIPVisionModel` norms the pooled token only."""
        rows, columns = spec.grid
        hidden: Tensor = backbone(pixel_values=pixels_BCSS).last_hidden_state
        return hidden[:, -rows * columns :]
