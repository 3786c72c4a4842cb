"""Vision transformers of timm: DINOv2 and everything else that its registry names and its checkpoints fit."""

from importlib import import_module
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from viral.teachers.families.family import Family, State
from viral.teachers.pos_embed import resample_like_dinov2
from viral.teachers.profiles import Profile
from viral.teachers.spec import TeacherSpec

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer


class TimmVit(Family):
    """`architecture` is a timm model; its own filter reads the original authors' checkpoints, too."""

    library = "timm"
    knobs: tuple[str, ...] = ("pos_embed",)

    def create(self, spec: TeacherSpec) -> nn.Module:
        """`timm.create_model` without a head, for the spec's image size."""
        import timm

        assert None not in spec.kwargs.values(), f"{spec.name}: timm leaves out arguments that are None"
        model = timm.create_model(spec.architecture, num_classes=0, img_size=spec.image_size, **spec.kwargs)
        return cast("nn.Module", model)

    def convert(self, state: State, backbone: nn.Module, spec: TeacherSpec, profile: Profile) -> State:
        """Through the filter of the model's module; position embeddings are resampled to the model's grid."""
        state = dict(state)
        if profile.pos_embed == "dinov2" and "pos_embed" in state:
            registers = bool(state.keys() & {"register_tokens", "reg_token"})
            state["pos_embed"] = resample_like_dinov2(
                state["pos_embed"], spec.grid[0], offset=0.0 if registers else 0.1, antialias=registers
            )
        converted: State = import_module(type(backbone).__module__).checkpoint_filter_fn(state, backbone)
        return converted

    def tokens(self, backbone: nn.Module, pixels_BCSS: Tensor, spec: TeacherSpec, profile: Profile) -> Tensor:
        """Patch tokens of block `spec.layer`; class and register tokens are left out."""
        vit = cast("VisionTransformer", backbone)
        (tokens_BND,) = vit.forward_intermediates(
            pixels_BCSS,
            indices=[spec.layer],
            norm=spec.norm,
            stop_early=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        return cast("Tensor", tokens_BND)
