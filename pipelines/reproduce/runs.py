"""A training run of a reproduction: a recipe and what is changed of it; the cache and the stage one that it needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.recipes import RECIPES, get_recipe
from pipelines.training.caches import needs_cache
from pipelines.training.config import TrainConfig, with_overrides
from pipelines.training.load import reinjections
from viral.mllm.projector import PROJECTOR_FILE
from viral.objectives import get_objective


@dataclass(frozen=True, kw_only=True, slots=True)
class Cache:
    """A teacher's features: one store serves every run that asks for the same."""

    vfm: str
    profile: str
    codec: str

    @property
    def name(self) -> str:
        """Folder of the store; it says what is not the usual."""
        unusual = (self.profile.replace("paper", ""), self.codec.replace("int8", ""))
        return "-".join([self.vfm, *(part for part in unusual if part)])


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A training run of either stage: a recipe, and the settings in which it differs from it."""

    name: str
    recipe: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> TrainConfig:
        """Its whole configuration."""
        return with_overrides(get_recipe(self.recipe), {**self.settings, "name": self.name})

    @property
    def cache(self) -> Cache | None:
        """The store that it trains against, if it needs one."""
        term = self.config.align.resolved()
        if not needs_cache(term):
            return None
        objective = get_objective(term.objective)
        assert objective is not None
        assert term.teacher is not None
        codec = "fp16" if objective.needs_lengths else "int8"
        return Cache(vfm=term.teacher, profile=term.profile, codec=codec)

    @property
    def is_exportable(self) -> bool:
        """Whether plain weights can hold it; reinjection has to be evaluated from the run itself."""
        return not reinjections(self.config)

    @property
    def stage_one(self) -> "Run | None":
        """The run that makes its projector; None if the projector is a published one."""
        source = Path(self.config.model.projector or "")
        recipe = source.parent.name.replace("-", "_")
        if source.name != PROJECTOR_FILE or recipe not in RECIPES:
            return None
        return Run(name=source.parent.name, recipe=recipe)

    def seeded(self, seed: int) -> "Run":
        """The same run with another seed, under a name of its own."""
        return Run(
            name=f"{self.name}-seed{seed}", recipe=self.recipe, settings={**self.settings, "seed": seed}
        )
