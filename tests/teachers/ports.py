"""Small teachers of every family, and timm's weights under the names of transformers' classes."""

from dataclasses import replace

import torch

from viral.data.images import CLIP_MEAN, CLIP_STD
from viral.teachers.spec import TeacherSpec

WIDTH, DEPTH, HEADS = 48, 3, 3
SIZE = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS}
VIT = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}

DINOV2 = TeacherSpec(
    name="dinov2", architecture="vit_small_patch14_dinov2.lvd142m", kwargs=VIT, dim=WIDTH, image_size=84
)
DINOV2_PORT = TeacherSpec(
    name="dinov2-port",
    family="transformers",
    architecture="Dinov2Model",
    kwargs={**SIZE, "image_size": 84, "patch_size": 14},
    dim=WIDTH,
    image_size=84,
)
CLIP = TeacherSpec(
    name="clip",
    family="clip",
    architecture="CLIPVisionModel",
    kwargs={**SIZE, "intermediate_size": 4 * WIDTH, "image_size": 84, "patch_size": 14},
    dim=WIDTH,
    image_size=84,
    mean=CLIP_MEAN,
    std=CLIP_STD,
    layer=-2,
    norm=False,
)
CLIP_TIMM = TeacherSpec(
    name="clip-timm",
    architecture="vit_large_patch14_clip_quickgelu_336.openai",
    kwargs=VIT,
    dim=WIDTH,
    image_size=84,
    mean=CLIP_MEAN,
    std=CLIP_STD,
    layer=-2,
    norm=False,
)
_WINDOWS = {"window_size": 3, "global_attn_indexes": [1]}
SAM = TeacherSpec(
    name="sam",
    family="sam",
    architecture="samvit_base_patch16.sa1b",
    kwargs={**VIT, **_WINDOWS, "neck_chans": 32, "img_size": 128},
    dim=32,
    image_size=64,
    patch_size=16,
    release_size=56,
)
SAM_PORT = TeacherSpec(
    name="sam-port",
    family="transformers",
    architecture="SamVisionModel",
    kwargs={**SIZE, **_WINDOWS, "mlp_dim": 4 * WIDTH, "output_channels": 32, "image_size": 128},
    dim=32,
    image_size=128,
    patch_size=16,
)
DEPTH_ANYTHING = TeacherSpec(
    name="depth-anything",
    family="depth-anything",
    architecture="vit_small_patch14_dinov2.lvd142m",
    kwargs=VIT,
    dim=WIDTH,
    image_size=56,
    hub_file="depth_anything_v2_vitb.pth",
)
RADIO = TeacherSpec(
    name="radio",
    family="radio",
    architecture="vit_base_patch16_radio_v3.c_radio",
    kwargs=VIT,
    dim=WIDTH,
    image_size=64,
    patch_size=16,
    release_size=56,
    mean=CLIP_MEAN,
    std=CLIP_STD,
    hub="nvidia/C-RADIOv3-B",
)
RADIO_V2 = replace(
    RADIO,
    name="radio-v2",
    architecture="vit_base_patch16_224",
    kwargs={**VIT, "reg_tokens": 7, "no_embed_class": True, "final_norm": False},
)


def shake(module, scale=0.1, seed=3):
    """Every parameter away from its initial value: layer scales start at 1e-5 and would hide the blocks."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return module


def as_dinov2_port(state):
    """timm's DINOv2 -> `Dinov2Model`."""
    renamed = {"embeddings.mask_token": torch.zeros(1, WIDTH)}
    names = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "norm": "layernorm",
        "attn.proj": "attention.o_proj",
        "attn.q_proj": "attention.q_proj",
        "attn.k_proj": "attention.k_proj",
        "attn.v_proj": "attention.v_proj",
        "ls1.gamma": "layer_scale1.lambda1",
        "ls2.gamma": "layer_scale2.lambda1",
    }
    return renamed | _rename(state, names, "blocks.", "encoder.layer.")


def as_timm_clip(state):
    """`CLIPVisionModel` -> timm's CLIP, whose final norm is the pooled token's there."""
    names = {
        "embeddings.class_embedding": "cls_token",
        "embeddings.patch_embedding": "patch_embed.proj",
        "embeddings.position_embedding.weight": "pos_embed",
        "pre_layrnorm": "norm_pre",
        "post_layernorm": "norm",
        "self_attn.out_proj": "attn.proj",
        "layer_norm1": "norm1",
        "layer_norm2": "norm2",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    }
    renamed = _rename(state, names, "encoder.layers.", "blocks.")
    for block in range(DEPTH):
        for kind in ("weight", "bias"):
            parts = [renamed.pop(f"blocks.{block}.self_attn.{x}_proj.{kind}") for x in "qkv"]
            renamed[f"blocks.{block}.attn.qkv.{kind}"] = torch.cat(parts)
    renamed["cls_token"] = renamed["cls_token"].reshape(1, 1, -1)
    renamed["pos_embed"] = renamed["pos_embed"][None]
    return renamed


def as_sam_port(state):
    """timm's SAM -> `SamVisionModel`."""
    names = {
        "patch_embed.proj": "patch_embed.projection",
        "norm1": "layer_norm1",
        "norm2": "layer_norm2",
        "mlp.fc1": "mlp.lin1",
        "mlp.fc2": "mlp.lin2",
        "neck.0": "neck.conv1",
        "neck.1": "neck.layer_norm1",
        "neck.2": "neck.conv2",
        "neck.3": "neck.layer_norm2",
    }
    renamed = _rename(state, names, "blocks.", "layers.", split_qkv=False)
    return {f"vision_encoder.{name}": value for name, value in renamed.items()}


def as_nvidia(state, side):
    """timm's RADIO -> NVIDIA's checkpoint, with position embeddings for side x side patches."""
    prefix = "radio_model.model."
    kept = {name: value for name, value in state.items() if name.startswith("blocks.")}
    renamed = {prefix + name.replace("gamma", "grandma"): value for name, value in kept.items()}
    generator = torch.Generator().manual_seed(5)
    return renamed | {
        f"{prefix}patch_generator.embedder.weight": state["patch_embed.proj.weight"].flatten(1),
        f"{prefix}patch_generator.pos_embed": torch.randn(1, side * side, WIDTH, generator=generator),
        f"{prefix}patch_generator.cls_token.token": torch.cat(
            [state["cls_token"], state["reg_token"]], dim=1
        )[0],
        "radio_model.input_conditioner.norm_mean": torch.tensor(CLIP_MEAN)[:, None, None],
        "radio_model.input_conditioner.norm_std": torch.tensor(CLIP_STD)[:, None, None],
        "radio_model.summary_idxs": torch.tensor([0, 1, 2]),
    }


def _rename(state, names, block, renamed_block, *, split_qkv=True):
    renamed = {}
    for name, value in state.items():
        if split_qkv and ".attn.qkv." in name:
            for part, chunk in zip("qkv", value.chunk(3), strict=True):
                renamed[_new(name.replace("qkv", f"{part}_proj"), names, block, renamed_block)] = chunk
        else:
            renamed[_new(name, names, block, renamed_block)] = value
    return renamed


def _new(name, names, block, renamed_block):
    lead = ""
    if name.startswith(block):
        index, name = name.removeprefix(block).split(".", 1)
        lead = f"{renamed_block}{index}."
    for old in sorted(names, key=len, reverse=True):
        if name == old or name.startswith(f"{old}."):
            return lead + names[old] + name.removeprefix(old)
    return lead + name
