"""What a picture costs: floating-point operations of a teacher, counted by torch on an architecture without weights."""

import torch

from viral.teachers.families import get_family
from viral.teachers.profiles import get_profile
from viral.teachers.spec import TeacherSpec


def count_flops(spec: TeacherSpec) -> int:
    """Operations for one picture, two for each multiply-add; takes no memory and about a second.

    Matrix products, convolutions and attention are counted; norms and activations are not.
    """
    from torch.utils.flop_counter import FlopCounterMode

    family, profile = get_family(spec.family), get_profile("paper")
    with torch.device("meta"), torch.no_grad():
        backbone = family.create(spec).eval()
        backbone = family.trim(backbone, spec)
        pixels_BCSS = torch.zeros(1, 3, spec.image_size, spec.image_size)
        with FlopCounterMode(display=False) as counter:
            tokens_BND = family.tokens(backbone, pixels_BCSS, spec, profile)
    assert tokens_BND.shape == (1, spec.grid[0] * spec.grid[1], spec.dim), (spec.name, tokens_BND.shape)
    return int(counter.get_total_flops())
