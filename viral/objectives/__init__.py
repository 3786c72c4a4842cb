"""Alignment objectives, one file each, looked up by name."""

from collections.abc import Callable

import torch
from torch import nn

from viral.errors import UnknownNameError
from viral.objectives.align import align

Objective = Callable[[torch.Tensor, torch.Tensor, nn.Module], torch.Tensor]

OBJECTIVES: dict[str, Objective | None] = {
    "none": None,  # the baseline: language modelling only, no head, no tap
    "align": align,
}


def get_objective(name: str) -> Objective | None:
    """Look an objective up by name; None is the baseline.

    Raises:
        UnknownNameError: no such objective.
    """
    if name not in OBJECTIVES:
        raise UnknownNameError("objective", name, list(OBJECTIVES))
    return OBJECTIVES[name]
