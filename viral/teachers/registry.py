"""The teachers by name. Adding one is one entry."""

from viral.microworld.teacher import MICRO_TEACHER
from viral.teachers.spec import TeacherSpec

TEACHERS = {
    spec.name: spec
    for spec in (
        TeacherSpec(name="dinov2-s", timm_id="vit_small_patch14_dinov2.lvd142m", dim=384),
        TeacherSpec(name="dinov2-b", timm_id="vit_base_patch14_dinov2.lvd142m", dim=768),
        TeacherSpec(name="dinov2-l", timm_id="vit_large_patch14_dinov2.lvd142m", dim=1024),
        TeacherSpec(name="dinov2-g", timm_id="vit_giant_patch14_dinov2.lvd142m", dim=1536),
        MICRO_TEACHER,
    )
}
TEACHERS["dinov2"] = TEACHERS["dinov2-b"]  # the paper's teacher
