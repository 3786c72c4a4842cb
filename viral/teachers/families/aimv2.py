"""AIMv2 (Fini et al., 2024): no class token, learned positions, RMS norms; tokens after the last norm."""

from torch import nn

from viral.teachers.families.family import State
from viral.teachers.families.layout import fuse_qkv, rename
from viral.teachers.families.timm_port import TimmPort
from viral.teachers.profiles import Profile
from viral.teachers.spec import TeacherSpec

_TRANSFORMERS = (
    (r"^embeddings\.patch_embed\.", "patch_embed.proj."),
    (r"^embeddings\.rms_norm\.", "patch_embed.norm."),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^encoder\.layers\.", "blocks."),
    (r"\.rms_norm([12])\.", r".norm\1."),
    (r"^rms_norm\.", "norm."),
    (r"\.attention\.out_proj\.", ".attn.proj."),
    (r"\.attention\.", ".attn."),
    (r"\.ffn\.gate_proj\.", ".mlp.fc1_g."),
    (r"\.ffn\.up_proj\.", ".mlp.fc1_x."),
    (r"\.ffn\.down_proj\.", ".mlp.fc2."),
)


class Aimv2(TimmPort):
    """Reads Apple's files and timm's (through timm's own filter), and those that transformers saves."""

    def convert(self, state: State, backbone: nn.Module, spec: TeacherSpec, profile: Profile) -> State:
        """Any of the layouts in timm's."""
        if "embeddings.position_embedding.weight" in state:
            state = fuse_qkv(rename(state, _TRANSFORMERS))
            state["pos_embed"] = state["pos_embed"][None]
        return super().convert(state, backbone, spec, profile)
