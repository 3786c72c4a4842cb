"""Frozen vision teachers: what they are (spec, registry), how they are fed (profiles) and loaded (load)."""

from viral.errors import UnknownNameError
from viral.teachers.spec import TeacherSpec


def get_teacher(name: str) -> TeacherSpec:
    """Look a teacher up by name.

    Raises:
        UnknownNameError: no such teacher.
    """
    # Here, not above: an entry of the registry may come from a module that imports `viral.teachers.spec`.
    from viral.teachers.registry import TEACHERS

    if name not in TEACHERS:
        raise UnknownNameError("teacher", name, list(TEACHERS))
    return TEACHERS[name]
