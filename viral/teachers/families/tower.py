"""A student's own tower as a teacher: the same class, weights, pixels and layer, hence the same features."""

from dataclasses import replace
from typing import cast

from torch import Tensor, nn

from viral.data.images import mean_fill
from viral.mllm.towers import load_tower, read_tower, tower_pixels, tower_sizes, trim_tower
from viral.teachers.families.hugging_face import HuggingFace
from viral.teachers.profiles import Profile
from viral.teachers.spec import TeacherSpec


class OwnTower(HuggingFace):
    """What a LLaVA, or one of the towers in `viral.mllm.towers`, gives to its projector."""

    def complete(self, spec: TeacherSpec, weights: str | None) -> TeacherSpec:
        """The spec of the tower that `weights`, a folder or hub id, holds."""
        if weights == "random":
            return spec
        source = _source(spec, weights)
        found = read_tower(source)
        pixels = tower_pixels(source, found.tower, found.config.image_size)
        return replace(
            spec,
            architecture=found.tower.class_name,
            dim=found.config.hidden_size,
            kwargs=tower_sizes(found.config) | dict(found.tower.changes),
            image_size=found.config.image_size,
            patch_size=found.config.patch_size,
            mean=pixels.mean,
            std=pixels.std,
            layer=found.layer,
        )

    def load(self, spec: TeacherSpec, weights: str | None) -> nn.Module:
        """As the student loads it."""
        return cast("nn.Module", load_tower(_source(spec, weights), "float32")[1])

    def resolve(self, profile: Profile) -> Profile:
        """The published code leaves the student's tower as it is, in every profile."""
        return replace(profile, normalisation="own", scramble_seed=None)

    def trim(self, backbone: nn.Module, spec: TeacherSpec) -> nn.Module:
        """Without the blocks behind `spec.layer`."""
        trim_tower(backbone, spec.layer)
        return backbone

    def tokens(self, backbone: nn.Module, pixels_BCSS: Tensor, spec: TeacherSpec, profile: Profile) -> Tensor:
        """Output of the last block left, before any norm, without the class token."""
        states = backbone(pixel_values=pixels_BCSS, output_hidden_states=True).hidden_states
        rows, columns = spec.grid
        tokens: Tensor = states[-1][:, -rows * columns :]
        return tokens

    def fill(self, spec: TeacherSpec) -> tuple[int, int, int]:
        """The student's: a tower pads with the mean of its own pixels."""
        return mean_fill(spec.mean)


def _source(spec: TeacherSpec, weights: str | None) -> str:
    return str(spec.hub) if weights in (None, "hub") else str(weights)
