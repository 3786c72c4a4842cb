"""Settings of one alignment term, with the paper's values as defaults."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, field_validator, model_validator

from viral.objectives import OBJECTIVES, get_objective

TOWER = "tower"
"""The teacher that needs no cache: the student's own vision tower."""

Layer = StrictInt | StrictFloat
"""Index of a block, or a fraction of the depth."""


class Settings(BaseModel):
    """A group of settings: none unknown, none changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class AlignConfig(Settings):
    """One term beside the language loss (Eq. 5). What is None follows the objective or the profile."""

    objective: str = "align"
    """`none` is the baseline."""
    teacher: str | None = None
    """Whose features: a cached teacher's, or `tower` for the student's own. None: dinov2 (ross: flux-vae)."""
    profile: Literal["paper", "release", "native"] = "paper"
    """How the cached features must have been made; a cache of another profile is refused."""
    weights: Literal["pretrained", "random"] = "pretrained"
    """`random` accepts a teacher that knows nothing, for trials."""
    online: bool | str = False
    """Run the teacher in the training process instead of reading a cache of it; for comparison. A string names its
    weights, as `viral cache build --weights` does."""
    layer: Layer | list[Layer] | None = None
    """Output of this block, counted from 1 (0 is the LLM's input), or of several; a float is a fraction of the depth.
    None: 16 (ross: 1.0, the final normed states)."""
    weight: float | None = Field(None, ge=0)
    """None: 0.5 (ross: 1.0). Reinjection has no loss, hence no weight."""
    averaging: Literal["image", "release"] | None = None
    """Mean over the micro-batch's images, or over its samples with a single one. None: the first, except under
    profile `release`. One setting for all terms: that of `align`."""
    head_width: int = Field(2048, gt=0)
    separate_heads: bool = False
    """A head for each layer, instead of one for all."""
    train_head: bool | None = None
    """None: trained, except under profile `release`, whose head stays at its random start."""
    use_head: bool | None = None
    """relation: compare tokens behind a head, as in the paper, or hidden states. None: as in the profile."""
    stop_gradient: bool = True
    """align_projected: no gradient into the projector through the target."""
    scope: Literal["image", "all"] | None = None
    """reinject_post: visual tokens, as in the paper, or every token. None: as in the profile."""
    adapter_init: Literal["zero", "random"] = "zero"
    """reinject_pre: how its adapter starts."""
    denoiser_width: int = Field(1024, gt=0)
    denoiser_depth: int = Field(3, gt=0)
    """ross: the transformer that denoises latents."""

    @field_validator("layer")
    @classmethod
    def _in_range(cls, value: Layer | list[Layer] | None) -> Layer | list[Layer] | None:
        for layer in value if isinstance(value, list) else [value]:
            if layer is not None and (layer < 0 or (isinstance(layer, float) and layer > 1)):
                raise ValueError(f"expected block indices from 0 or fractions 0.0 to 1.0, found {layer}")
        return value

    @model_validator(mode="after")
    def _known(self) -> "AlignConfig":
        objective = get_objective(self.objective)
        if self.teacher == TOWER and objective and (objective.needs_lengths or objective.source != "teacher"):
            raise ValueError(
                f"objective {self.objective} takes no features of the tower; drop teacher={TOWER}"
            )
        if self.online and (self.teacher == TOWER or not objective or objective.source != "teacher"):
            raise ValueError(
                f"objective {self.objective} has no teacher beside the student to run; drop online"
            )
        if self.separate_heads and not isinstance(self.layer, list):
            raise ValueError("separate_heads needs several layers, as in layer=[15,16,17]")
        return self

    def resolved(self) -> "AlignConfig":
        """A copy in which what is None has the value that its objective or profile gives it."""
        objective = OBJECTIVES[self.objective] or OBJECTIVES["align"]
        assert objective is not None
        release = self.profile == "release"
        defaults = {
            "teacher": objective.teacher,
            "layer": objective.layer,
            "weight": objective.weight,
            "averaging": "release" if release else "image",
            "train_head": not release,
            "use_head": not release,
            "scope": "all" if release else "image",
        }
        return self.model_copy(
            update={name: value for name, value in defaults.items() if getattr(self, name) is None}
        )
