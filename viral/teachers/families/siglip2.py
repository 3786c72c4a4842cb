"""SigLIP 2 of one resolution (Tschannen et al., 2025): tokens after the last norm; no class token, no pooling head."""

from torch import nn

from viral.teachers.families.family import State
from viral.teachers.families.layout import fuse_qkv, rename, without
from viral.teachers.families.timm_port import TimmPort
from viral.teachers.profiles import Profile
from viral.teachers.spec import TeacherSpec

# The text half, and the head that pools the patches, in transformers' and in timm's names.
_REST = ("text_model.", "logit_", "head.", "attn_pool.")
_TRANSFORMERS = (
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^encoder\.layers\.", "blocks."),
    (r"\.layer_norm", ".norm"),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"\.self_attn\.", ".attn."),
    (r"^post_layernorm\.", "norm."),
)


class Siglip2(TimmPort):
    """A timm ViT built without its pooling head; reads timm's files and those of transformers (google/siglip2-*)."""

    def convert(self, state: State, backbone: nn.Module, spec: TeacherSpec, profile: Profile) -> State:
        """The patch encoder of either layout."""
        vision = without(
            {name.removeprefix("vision_model."): tensor for name, tensor in state.items()}, _REST
        )
        if "embeddings.position_embedding.weight" in vision:
            vision = fuse_qkv(rename(vision, _TRANSFORMERS))
            vision["pos_embed"] = vision["pos_embed"][None]
        return super().convert(vision, backbone, spec, profile)
