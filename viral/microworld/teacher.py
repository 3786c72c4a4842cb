"""The micro teacher: a small timm vision transformer on the same 8 x 8 grid as the student's tower."""

from viral.microworld.parts import TEACHER_FILE, WEIGHTS
from viral.teachers.spec import TeacherSpec

MICRO_TEACHER = TeacherSpec(
    name="micro",
    architecture="vit_tiny_patch16_224",
    kwargs={"patch_size": 8, "embed_dim": 128, "depth": 6, "num_heads": 4},
    dim=128,
    image_size=64,
    patch_size=8,
    weights_file=WEIGHTS / TEACHER_FILE,
    licence="apache-2.0",
    gflops=0.1695,
)
