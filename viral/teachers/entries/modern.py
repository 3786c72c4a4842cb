"""Teachers newer than the paper's, and the latents that ROSS reconstructs."""

from viral.data.statistics import CLIP_MEAN, CLIP_STD, HALF
from viral.teachers.spec import TeacherSpec


def _dinov3(name: str, size: str, dim: int, gflops: float) -> TeacherSpec:
    architecture = f"vit_{size}_patch16_dinov3_qkvb.lvd1689m"
    return TeacherSpec(
        name=name,
        family="dinov3",
        architecture=architecture,
        dim=dim,
        image_size=384,
        patch_size=16,
        hub=f"timm/{architecture}",
        licence="dinov3-license",
        gflops=gflops,
    )


def _siglip2(name: str, size: str, dim: int, gflops: float) -> TeacherSpec:
    architecture = f"vit_{size}_patch16_siglip_384.v2_webli"
    return TeacherSpec(
        name=name,
        family="siglip2",
        architecture=architecture,
        kwargs={"global_pool": ""},
        dim=dim,
        image_size=384,
        patch_size=16,
        mean=HALF,
        std=HALF,
        hub=f"timm/{architecture}",
        licence="apache-2.0",
        gflops=gflops,
    )


def _c_radio_v4(name: str, size: str, repository: str, dim: int, gflops: float) -> TeacherSpec:
    return TeacherSpec(
        name=name,
        family="radio-v4",
        architecture=f"vit_{size}_patch16_radio_v4.c_radio",
        dim=dim,
        image_size=384,
        patch_size=16,
        mean=CLIP_MEAN,
        std=CLIP_STD,
        hub=f"nvidia/{repository}",
        licence="nvidia-open-model-license",
        gflops=gflops,
    )


def _pe_spatial(name: str, architecture: str, dim: int, patch_size: int, gflops: float) -> TeacherSpec:
    return TeacherSpec(
        name=name,
        family="pe-spatial",
        architecture=architecture,
        dim=dim,
        image_size=24 * patch_size,
        patch_size=patch_size,
        mean=HALF,
        std=HALF,
        norm=False,
        hub=f"timm/{architecture}",
        licence="apache-2.0",
        gflops=gflops,
    )


def _aimv2(name: str, size: str, dim: int, gflops: float) -> TeacherSpec:
    architecture = f"aimv2_{size}_patch14_336.apple_pt"
    return TeacherSpec(
        name=name,
        family="aimv2",
        architecture=architecture,
        dim=dim,
        mean=CLIP_MEAN,
        std=CLIP_STD,
        hub=f"timm/{architecture}",
        licence="apple-ascl",
        gflops=gflops,
    )


def _tipsv2(name: str, size: str, dim: int, gflops: float) -> TeacherSpec:
    architecture = f"vit_{size}_patch14_reg1_tipsv2.webli"
    return TeacherSpec(
        name=name,
        family="tipsv2",
        architecture=architecture,
        dim=dim,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        hub=f"timm/{architecture}",
        licence="apache-2.0",
        gflops=gflops,
    )


FLUX_VAE = TeacherSpec(
    name="flux-vae",
    family="flux-vae",
    architecture="AutoencoderKL",
    kwargs={
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "latent_channels": 16,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
    },
    dim=64,
    image_size=384,
    patch_size=16,
    mean=HALF,
    std=HALF,
    length_matters=True,
    hub="black-forest-labs/FLUX.1-schnell",
    hub_file="ae.safetensors",
    licence="apache-2.0",
    gflops=620.2,
)

MODERN_TEACHERS = (
    _dinov3("dinov3-s", "small", 384, 31.24),
    _dinov3("dinov3-b", "base", 768, 111.8),
    _dinov3("dinov3-l", "large", 1024, 385.0),
    _dinov3("dinov3-hplus", "huge_plus", 1280, 1031.2),
    _siglip2("siglip2-b", "base", 768, 110.8),
    _siglip2("siglip2-l", "large", 1024, 381.4),
    _siglip2("siglip2-so400m", "so400m", 1152, 515.9),
    _c_radio_v4("c-radio-v4-so400m", "so400m", "C-RADIOv4-SO400M", 1152, 525.5),
    _c_radio_v4("c-radio-v4-h", "huge", "C-RADIOv4-H", 1280, 794.8),
    _pe_spatial("pe-spatial-b", "vit_pe_spatial_base_patch16_512.fb", 768, 16, 111.0),
    _pe_spatial("pe-spatial-l", "vit_pe_spatial_large_patch14_448.fb", 1024, 14, 381.9),
    _pe_spatial("pe-spatial-g", "vit_pe_spatial_gigantic_patch14_448.fb", 1536, 14, 2232.0),
    _aimv2("aimv2-l", "large", 1024, 388.4),
    _aimv2("aimv2-h", "huge", 1536, 832.7),
    _tipsv2("tipsv2-b", "base", 768, 111.0),
    _tipsv2("tipsv2-l", "large", 1024, 382.6),
    _tipsv2("tipsv2-so400m", "so400m", 1152, 517.5),
    FLUX_VAE,
)
