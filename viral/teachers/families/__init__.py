"""Families of teachers by name: who builds a backbone, reads its checkpoints and takes its tokens."""

from importlib import import_module
from typing import TYPE_CHECKING

from viral.errors import UnknownNameError

if TYPE_CHECKING:
    from viral.teachers.families.family import Family

# Name -> module and class, loaded when asked for: they need torch. A new family is one line and one small file.
FAMILIES = {
    "clip": ("viral.teachers.families.clip", "Clip"),
    "depth-anything": ("viral.teachers.families.depth_anything", "DepthAnything"),
    "radio": ("viral.teachers.families.radio", "Radio"),
    "sam": ("viral.teachers.families.sam", "Sam"),
    "timm": ("viral.teachers.families.timm_vit", "TimmVit"),
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
