"""Families of teachers by name: who builds a backbone, reads its checkpoints and takes its tokens."""

from importlib import import_module
from typing import TYPE_CHECKING

from viral.errors import UnknownNameError

if TYPE_CHECKING:
    from viral.teachers.families.family import Family

# Name -> module and class, loaded when asked for: they need torch. A new family is one line and one small file.
FAMILIES = {
    "aimv2": ("viral.teachers.families.aimv2", "Aimv2"),
    "clip": ("viral.teachers.families.clip", "Clip"),
    "depth-anything": ("viral.teachers.families.depth_anything", "DepthAnything"),
    "dinov3": ("viral.teachers.families.dinov3", "DinoV3"),
    "flux-vae": ("viral.teachers.families.flux_vae", "FluxVae"),
    "pe-spatial": ("viral.teachers.families.pe_spatial", "PeSpatial"),
    "radio": ("viral.teachers.families.radio", "Radio"),
    "radio-v4": ("viral.teachers.families.radio_v4", "RadioV4"),
    "sam": ("viral.teachers.families.sam", "Sam"),
    "siglip2": ("viral.teachers.families.siglip2", "Siglip2"),
    "timm": ("viral.teachers.families.timm_vit", "TimmVit"),
    "tipsv2": ("viral.teachers.families.tipsv2", "TipsV2"),
    "tower": ("viral.teachers.families.tower", "OwnTower"),
    "transformers": ("viral.teachers.families.hugging_face", "HuggingFace"),
}


def get_family(name: str) -> "Family":
    """Look a family up by name.

    Raises:
        UnknownNameError: no such family.
    """
    if name not in FAMILIES:
        raise UnknownNameError("teacher family", name, list(FAMILIES))
    module, family = FAMILIES[name]
    instance: Family = getattr(import_module(module), family)()
    return instance
