"""Training objectives, one file each, looked up by name."""

from dataclasses import dataclass

from viral.errors import UnknownNameError
from viral.objectives.align import Align
from viral.objectives.align_projected import AlignProjected
from viral.objectives.reinject_post import ReinjectPost
from viral.objectives.reinject_pre import ReinjectPre
from viral.objectives.reinjection import Reinjection as Reinjection
from viral.objectives.relation import Relation
from viral.objectives.ross import Ross
from viral.objectives.term import LossTerm as LossTerm
from viral.objectives.term import Shape as Shape
from viral.objectives.term import Source
from viral.objectives.term import TermSettings as TermSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """One entry: the module that computes it, and what it starts from where a run does not say."""

    term: type[LossTerm] | type[Reinjection]
    source: Source | None = "teacher"
    """Where its targets come from; None if it has none."""
    layer: float = 16
    """Index of a block, or a fraction of the depth if a float: the paper's."""
    weight: float = 0.5
    teacher: str = "dinov2"
    is_cosine: bool = False
    """Whether its loss is minus a mean cosine."""
    needs_lengths: bool = False
    """Whether a target's length matters and not only its direction; such a target cannot be resampled either."""
    takes_tiles: bool = True
    """Whether images may differ in how many visual tokens they have."""


OBJECTIVES: dict[str, Objective | None] = {
    "none": None,  # the baseline: language modelling only, no head, no tap
    "align": Objective(term=Align, is_cosine=True),
    "relation": Objective(term=Relation),
    "reinject_post": Objective(term=ReinjectPost, source=None),
    "reinject_pre": Objective(term=ReinjectPre, source=None),
    "align_projected": Objective(term=AlignProjected, source="projected", is_cosine=True),
    "ross": Objective(
        term=Ross, layer=1.0, weight=1.0, teacher="flux-vae", needs_lengths=True, takes_tiles=False
    ),
}


def get_objective(name: str) -> Objective | None:
    """Look an objective up by name; None is the baseline.

    Raises:
        UnknownNameError: no such objective.
    """
    if name not in OBJECTIVES:
        raise UnknownNameError("objective", name, list(OBJECTIVES))
    return OBJECTIVES[name]
