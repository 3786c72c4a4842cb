"""DINOv3 (Simeoni et al., 2025): rotary positions, so any grid; one class and four register tokens; final norm."""

import torch
from torch import nn

from viral.teachers.families.family import State
from viral.teachers.families.layout import fuse_qkv, rename, without
from viral.teachers.families.timm_port import TimmPort
from viral.teachers.profiles import Profile
from viral.teachers.spec import TeacherSpec

_TRANSFORMERS = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
    (r"^(model\.)?layer\.", "blocks."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.attention\.([qv])_proj\.bias$", r".attn.\1_bias"),
    (r"\.attention\.", ".attn."),
    (r"\.layer_scale([12])\.lambda1$", r".gamma_\1"),
    (r"\.mlp\.gate_proj\.", ".mlp.fc1_g."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
)


class DinoV3(TimmPort):
    """timm's `_qkvb` models: with biases of queries and values they hold every published file without loss.

    Reads timm's files with and without those biases, Meta's, and those of transformers (facebook/dinov3-vit*).
    """

    def convert(self, state: State, backbone: nn.Module, spec: TeacherSpec, profile: Profile) -> State:
        """Any of the layouts in timm's; rotary positions are computed, so there is nothing to resample."""
        if "embeddings.register_tokens" in state:
            gated = any(".mlp.gate_proj." in name for name in state)
            up = (r"\.mlp\.up_proj\.", ".mlp.fc1_x." if gated else ".mlp.fc1.")
            state = fuse_qkv(rename(without(state, ("embeddings.mask_token",)), (*_TRANSFORMERS, up)))
        converted = super().convert(state, backbone, spec, profile)  # timm's filter knows Meta's names
        return _absent_biases(converted, backbone) | converted


def _absent_biases(state: State, backbone: nn.Module) -> State:
    """Zeros for the biases of queries and values, if the file has none at all: timm's models without `_qkvb`."""
    biases = {
        name: torch.zeros(tensor.shape)
        for name, tensor in backbone.state_dict().items()
        if name.endswith((".attn.q_bias", ".attn.v_bias"))
    }
    return {} if biases.keys() & state.keys() else biases
