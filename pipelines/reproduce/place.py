"""Where a reproduction keeps what it makes, and where it finds what it starts from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.recipes import get_recipe
from pipelines.reproduce.runs import Cache, Run
from pipelines.training.config import TrainConfig, with_overrides
from viral.mllm.projector import PROJECTOR_FILE


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Folders of a reproduction."""

    root: Path
    """What is made."""
    world: Path
    """Data and benchmarks."""
    home: Path
    """What recipes call `world`: `playground`, the micro-world's `demo`."""
    local: Mapping[str, str] = field(default_factory=dict)
    """Hub id -> the file or folder that stands for it on this machine."""

    machine: Mapping[str, Any] = field(default_factory=dict)
    """Settings that this machine asks of every run: backend, micro-batches."""

    @property
    def benchmarks(self) -> Path:
        """Folder of the benchmarks."""
        return self.world / "benchmarks"

    @property
    def pages(self) -> Path:
        """Finished tables and reports."""
        return self.root / "results"

    def cache(self, cache: Cache) -> Path:
        """A feature store."""
        return self.root / "caches" / cache.name

    def run(self, run: Run) -> Path:
        """A training run."""
        return self.root / "runs" / run.name

    def model(self, run: Run) -> Path:
        """What is evaluated: a run's export, or the run itself where plain weights cannot hold it."""
        return self.root / "models" / run.name if run.is_exportable else self.run(run)

    def replies(self, run: Run, profile: str) -> Path:
        """A model's replies and scores under one evaluation profile."""
        return self.root / "eval" / profile / run.name

    def analysis(self, name: str) -> Path:
        """Data and figures of an analysis."""
        return self.root / "analyses" / name

    def source(self, hub_id: str) -> str:
        """A hub id, or what stands for it here."""
        return self.local.get(hub_id, hub_id)

    def data(self, run: Run) -> tuple[Path, Path]:
        """A run's annotations and images below `world`."""
        data = run.config.data
        annotations, images = (self._rehomed(path) for path in (data.annotation_files[0], data.images))
        return annotations, images

    def settings(self, run: Run) -> dict[str, Any]:
        """A run's settings, with the paths of this place."""
        annotations, images = self.data(run)
        paths: dict[str, Any] = {"data.annotations": str(annotations), "data.images": str(images)}
        model = run.config.model
        for part, source in (("llm", model.llm), ("tower", model.tower), ("projector", model.projector)):
            if source and source in self.local:
                paths[f"model.{part}"] = self.local[source]
        if stage_one := run.stage_one:
            paths["model.projector"] = str(self.run(stage_one) / PROJECTOR_FILE)
        if run.name != get_recipe(run.recipe).name:
            paths["name"] = run.name
        return {**run.settings, **paths, **self.machine}

    def config(self, run: Run) -> TrainConfig:
        """The whole configuration of a run here.

        Raises:
            ConfigError: settings of the machine that do not fit.
        """
        return with_overrides(get_recipe(run.recipe), self.settings(run))

    def _rehomed(self, path: Path) -> Path:
        return self.world / path.relative_to(self.home) if path.is_relative_to(self.home) else path
