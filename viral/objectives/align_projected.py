"""Alignment to what the LLM was given, Eq. 8: the target is the projector's output for the same image."""

from viral.objectives.align import Align


class AlignProjected(Align):
    """Eq. 6 with `projector(z)` as target, of the LLM's width.

    The target is a constant unless `stop_gradient` is off: the paper lets no gradient into z (Eq. 4) and is silent
    about the projector, which could meet the loss by forgetting the image.
    """
