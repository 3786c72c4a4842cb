"""What an analysis is, and what it is asked: models, questions, settings, where to put the result."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.progress import bar
from viral.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipelines.analyses.questions import Questions
    from viral.mllm.student import Student

_LABELLED = re.compile(r"([^=/]+)=(.+)")


@dataclass(frozen=True, slots=True)
class Labelled:
    """A folder and what figures call it: a model, a run, a cache, replies."""

    label: str
    path: str


class Settings(Protocol):
    """What an analysis lets its user choose; a frozen dataclass of its own file."""

    def describe(self) -> dict[str, Any]:
        """All that the numbers depend on, as JSON values."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One analysis of one or more models.

    `device` and `batch_size` say how it is computed, all else what. `questions` is None where an analysis asks whole
    benchmarks.
    """

    models: tuple[Labelled, ...]
    settings: Settings
    out: Path
    profile: str
    questions: "Questions | None" = None
    device: str = "auto"
    batch_size: int = 8

    @property
    def dtype(self) -> str:
        """Precision of the models."""
        from viral.device import pick_device

        return "float32" if pick_device(self.device).type == "cpu" else "float16"

    @property
    def asked(self) -> "Questions":
        """The questions of an analysis that has some."""
        assert self.questions is not None
        return self.questions

    def load(self, model: Labelled, *, tiles: bool = False) -> "Student":
        """A model, ready to be asked; with `tiles` it may be one that sees them.

        Raises:
            ConfigError: it sees tiles, and the analysis takes whole pictures only.
            ConfigError, WeightsError: see `load_model`.
        """
        from pipelines.training.load import load_model
        from viral.device import pick_device

        student = load_model(model.path, device=str(pick_device(self.device)), dtype=self.dtype)
        if student.image.tiling and not tiles:
            raise ConfigError(
                f"{model.path} sees tiles, and this analysis draws one grid for each picture; take cknna or "
                "permutation."
            )
        return student


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure and the sentence below it."""

    figure: "Figure"
    caption: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What an analysis found: JSON values, and figures of them."""

    data: dict[str, Any]
    drawings: Sequence[Drawing]


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """A registry entry.

    `measure` fills a folder of one model's own, going on where an earlier call was stopped; `report` makes findings
    of the folders of all models, by label, and needs no model. A `gallery` has a figure for each picture. Without
    `parts` a folder holds replies, which say themselves what made them.
    """

    name: str
    title: str
    measure: Callable[[Job, Labelled, Path], None]
    report: Callable[[Job, Mapping[str, Path]], Findings]
    gallery: bool = False
    parts: bool = True


def parse_labelled(arguments: Sequence[str], option: str) -> tuple[Labelled, ...]:
    """`["base=out/a", "out/b"]` -> labels and paths; without a label it is the folder's name.

    Raises:
        ConfigError: a label that comes twice, or is no file name.
    """
    found = []
    for argument in arguments:
        match = _LABELLED.fullmatch(argument)
        label, path = match.groups() if match else (Path(argument.rstrip("/")).name, argument)
        found.append(Labelled(label.strip(), path))
    labels = [entry.label for entry in found]
    for label in labels:
        if not label or label.startswith("."):
            raise ConfigError(f"{option} needs a label in front of this folder, as in {option} baseline=DIR.")
        if labels.count(label) > 1:
            raise ConfigError(
                f"Two folders are labelled {label!r}; give {option} LABEL=DIR with other labels."
            )
    return tuple(found)


@contextmanager
def progress(
    job: Job, model: Labelled, title: str, done: int, unit: str
) -> Iterator[Callable[[int], object]]:
    """A bar over the job's questions for one model; yields what moves it on."""
    with bar(len(job.asked), f"{title}, {model.label}", True, done, unit) as shown:
        yield shown.update
