"""What a teacher costs, read off its architecture without weights: operations for a picture, bytes in memory."""

from typing import NamedTuple

import torch
from torch import nn

from viral.teachers.families import get_family
from viral.teachers.profiles import get_profile
from viral.teachers.spec import TeacherSpec


class TeacherCost(NamedTuple):
    """Of a loaded teacher."""

    bytes: int
    """Of its weights."""
    flops: int
    """Of one picture."""


def teacher_cost(spec: TeacherSpec, weights: str | None, profile: str, *, on_cpu: bool) -> TeacherCost:
    """What `load_teacher` of the same would take; on a GPU, unless `on_cpu`.

    Raises:
        WeightsError: only the checkpoint knows the architecture, and it is not at hand.
        ConfigError: unknown profile.
    """
    spec = get_family(spec.family).complete(spec, weights)
    dtype = get_profile(profile).dtype
    if dtype == "auto":
        dtype = "float32" if on_cpu else "bfloat16"
    itemsize = getattr(torch, dtype).itemsize
    numbers = sum(parameter.numel() for parameter in _skeleton(spec).parameters())
    return TeacherCost(numbers * itemsize, count_flops(spec))


def count_flops(spec: TeacherSpec) -> int:
    """Operations for one picture, two for each multiply-add; takes no memory and about a second.

    Matrix products, convolutions and attention are counted; norms and activations are not.
    """
    from torch.utils.flop_counter import FlopCounterMode

    family, profile, backbone = get_family(spec.family), get_profile("paper"), _skeleton(spec)
    with torch.device("meta"), torch.no_grad():
        pixels_BCSS = torch.zeros(1, 3, spec.image_size, spec.image_size)
        with FlopCounterMode(display=False) as counter:
            tokens_BND = family.tokens(backbone, pixels_BCSS, spec, profile)
    assert tokens_BND.shape == (1, spec.grid[0] * spec.grid[1], spec.dim), (spec.name, tokens_BND.shape)
    return int(counter.get_total_flops())


def _skeleton(spec: TeacherSpec) -> nn.Module:
    family = get_family(spec.family)
    with torch.device("meta"):
        return family.trim(family.create(spec).eval(), spec)
