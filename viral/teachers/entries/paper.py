"""The paper's teachers, with their smaller and larger sisters."""

from dataclasses import replace

from viral.data.statistics import CLIP_MEAN, CLIP_STD
from viral.teachers.spec import TeacherSpec


def _dinov2(name: str, size: str, dim: int, gflops: float) -> TeacherSpec:
    return TeacherSpec(
        name=name,
        architecture=f"vit_{size}_dinov2.lvd142m",
        dim=dim,
        hub=f"timm/vit_{size}_dinov2.lvd142m",
        licence="apache-2.0",
        gflops=gflops,
    )


CLIP_L_336 = TeacherSpec(
    name="clip-l-336",
    family="clip",
    architecture="CLIPVisionModel",
    kwargs={
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
        "projection_dim": 768,
    },
    dim=1024,
    mean=CLIP_MEAN,
    std=CLIP_STD,
    layer=-2,
    norm=False,
    hub="openai/clip-vit-large-patch14-336",
    hub_file="pytorch_model.bin",
    licence="mit",
    gflops=366.0,
)

# The student's tower, whichever it is: what differs from the paper's comes from the folder named as weights. Only
# exact codecs: a student sees the length of its features, too.
OWN_TOWER = replace(CLIP_L_336, name="tower", family="tower", length_matters=True)

PAPER_TEACHERS = (
    _dinov2("dinov2-s", "small_patch14", 384, 30.9),
    _dinov2("dinov2-b", "base_patch14", 768, 110.8),
    _dinov2("dinov2-l", "large_patch14", 1024, 381.9),
    _dinov2("dinov2-g", "giant_patch14", 1536, 1390.0),
    _dinov2("dinov2-s-reg", "small_patch14_reg4", 384, 31.16),
    _dinov2("dinov2-b-reg", "base_patch14_reg4", 768, 111.7),
    _dinov2("dinov2-l-reg", "large_patch14_reg4", 1024, 384.8),
    _dinov2("dinov2-g-reg", "giant_patch14_reg4", 1536, 1400.0),
    CLIP_L_336,
    OWN_TOWER,
    TeacherSpec(
        name="sam-b",
        family="sam",
        architecture="samvit_base_patch16.sa1b",
        kwargs={"img_size": 1024},
        dim=256,
        image_size=384,
        patch_size=16,
        release_size=336,
        hub="timm/samvit_base_patch16.sa1b",
        url="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
        licence="apache-2.0",
        gflops=972.1,
    ),
    TeacherSpec(
        name="depth-anything-v2-b",
        family="depth-anything",
        architecture="vit_base_patch14_dinov2.lvd142m",
        dim=768,
        hub="depth-anything/Depth-Anything-V2-Base",
        hub_file="depth_anything_v2_vitb.pth",
        licence="cc-by-nc-4.0",
        gflops=110.8,
    ),
    # Four class tokens and four registers (NVlabs/RADIO issue 80); unlike v3 without layer scale.
    TeacherSpec(
        name="radio-v2.5-b",
        family="radio",
        architecture="vit_base_patch16_224",
        kwargs={"reg_tokens": 7, "no_embed_class": True, "final_norm": False},
        dim=768,
        image_size=384,
        patch_size=16,
        release_size=336,
        mean=CLIP_MEAN,
        std=CLIP_STD,
        hub="nvidia/RADIO-B",
        licence="nvidia-nsclv1 (non-commercial)",
        gflops=112.5,
    ),
    TeacherSpec(
        name="c-radio-v3-b",
        family="radio",
        architecture="vit_base_patch16_radio_v3.c_radio",
        dim=768,
        image_size=384,
        patch_size=16,
        release_size=336,
        mean=CLIP_MEAN,
        std=CLIP_STD,
        hub="nvidia/C-RADIOv3-B",
        licence="nvidia-open-model-license",
        gflops=112.5,
    ),
)
