"""The teachers by name. Adding one is one entry. No heavy imports: `viral teachers` prints this table at once."""

from viral.microworld.teacher import MICRO_TEACHER
from viral.teachers.entries.modern import MODERN_TEACHERS
from viral.teachers.entries.paper import PAPER_TEACHERS

TEACHERS = {spec.name: spec for spec in (*PAPER_TEACHERS, *MODERN_TEACHERS, MICRO_TEACHER)}

ALIASES = {"dinov2": "dinov2-b", "clip": "clip-l-336"}
"""Short names; `dinov2` is the paper's default."""

TEACHERS |= {alias: TEACHERS[name] for alias, name in ALIASES.items()}
