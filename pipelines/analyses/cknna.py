"""Layer-wise CKNNA between visual tokens and vision features (Figures 2 and 9): do the layers keep what was seen?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipelines.analyses.caches import CachedFeatures
from pipelines.analyses.figures import PAGE, band, figure_style, line, new_figure, plain
from pipelines.analyses.job import Analysis, Drawing, Findings, Job, Labelled, progress
from pipelines.analyses.parts import Parts
from viral.analysis.bootstrap import mean_band
from viral.analysis.cknna import CLAMP, NUM_NEIGHBOURS, Neighbours, cknna, nearest
from viral.analysis.layers import TokenGroup, square_pictures, token_groups
from viral.benchmarks import get_profile
from viral.data.images import decode_image
from viral.errors import ConfigError
from viral.mllm.tap import layer_indices

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from viral.mllm.student import Student

TOWER = "vision tower"
LEVELS = ("token", "image")


@dataclass(frozen=True, kw_only=True, slots=True)
class CknnaSettings:
    """`level`: samples are the tokens of one picture, averaged over pictures (`token`), or pictures, each the mean of
    its tokens (`image`). `clamp` None switches the clamping off; `layers` None means all; `caches` are teachers'.
    """

    layers: tuple[float, ...] | None = None
    level: str = "token"
    k: int = NUM_NEIGHBOURS
    clamp: float | None = CLAMP
    caches: tuple[CachedFeatures, ...] = ()

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ConfigError(f"--level {self.level!r}; expected one of {', '.join(LEVELS)}.")

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "layers": self.layers,
            "level": self.level,
            "k": self.k,
            "clamp": self.clamp,
            "caches": {cache.label: cache.describe() for cache in self.caches},
        }


def measure(job: Job, model: Labelled, folder: Path) -> None:
    """For each picture its CKNNA at each layer, or at image level its mean tokens."""
    settings, parts = job.settings, Parts(folder)
    assert isinstance(settings, CknnaSettings)
    missing = [item for item in job.asked if item.id not in parts]
    if not missing:
        return
    student, mode = job.load(model), get_profile(job.profile).image_mode
    for cache in settings.caches:
        cache.check(mode)
    layers = wanted_layers(student, settings.layers)
    done = len(job.asked) - len(missing)
    with progress(job, model, "CKNNA", done, "img") as advance:
        for start in range(0, len(missing), job.batch_size):
            batch = missing[start : start + job.batch_size]
            squares = square_pictures(student, [decode_image(item.image) for item in batch], mode)
            for item, groups in zip(batch, token_groups(student, squares, layers), strict=True):
                references = {TOWER: [group.tower_TV for group in groups]} | {
                    cache.label: [cache.features(item.image, student)] for cache in settings.caches
                }
                made = (_pooled if settings.level == "image" else _aligned)(groups, references, settings)
                parts.write(item.id, {"layers": np.array(layers), **made})
            advance(len(batch))


def wanted_layers(student: "Student", layers: Sequence[float] | None) -> tuple[int, ...]:
    """Indices of hidden states, None being all from 0 (the projected image) to the last."""
    depth = len(student.model.model.language_model.layers)
    return tuple(range(depth + 1)) if layers is None else layer_indices(layers, depth)


def report(job: Job, folders: Mapping[str, Path]) -> Findings:
    """Mean over pictures with its bootstrap band, by model, reference and layer."""
    settings = job.settings
    assert isinstance(settings, CknnaSettings)
    data = {label: _summary(job, Parts(folder), settings) for label, folder in folders.items()}
    with figure_style():
        figure = _draw(data, settings)
    unit = "tokens of a picture" if settings.level == "token" else "mean tokens of pictures"
    caption = (
        f"CKNNA (k = {settings.k}, {unit}) between each layer's visual tokens and vision features, "
        f"{len(job.asked)} pictures of {job.asked.source}. Layer 0 is the projected image."
    )
    if settings.level == "token":
        caption += " Bands: 95 % bootstrap over pictures."
    return Findings(data, [Drawing(figure, caption)])


def _aligned(
    groups: Sequence[TokenGroup], references: Mapping[str, list[torch.Tensor]], settings: CknnaSettings
) -> dict[str, np.ndarray]:
    """CKNNA [layers] with each reference; of a picture in tiles the mean over its tiles."""

    def neighbours(features_TD: torch.Tensor) -> Neighbours:
        return nearest(features_TD, settings.k, clamp=settings.clamp)

    hidden = [{layer: neighbours(state) for layer, state in group.hidden.items()} for group in groups]
    values = {}
    for name, features in references.items():
        if len(features) != len(groups):
            raise ConfigError(
                f"{name} has {len(features)} sets of tokens for a picture of which the model sees {len(groups)} tiles; "
                "leave --cache out for such a model."
            )
        per_group = [
            [cknna(state, neighbours(reference)) for state in states.values()]
            for states, reference in zip(hidden, features, strict=True)
        ]
        values[name] = np.mean(per_group, axis=0)
    return values


def _pooled(
    groups: Sequence[TokenGroup], references: Mapping[str, list[torch.Tensor]], _settings: CknnaSettings
) -> dict[str, np.ndarray]:
    """The mean token of the picture at each layer [layers, D], and of each reference [D]."""

    def pooled(tensors: Sequence[torch.Tensor]) -> np.ndarray:
        mean: np.ndarray = torch.cat(list(tensors)).float().mean(dim=0).cpu().numpy()
        return mean

    layers = groups[0].hidden
    hidden_LD = np.stack([pooled([group.hidden[layer] for group in groups]) for layer in layers])
    return {name: pooled(features) for name, features in references.items()} | {"hidden": hidden_LD}


def _summary(job: Job, parts: Parts, settings: CknnaSettings) -> dict[str, Any]:
    measured = [parts.read(item.id) for item in job.asked]
    names = [TOWER, *(cache.label for cache in settings.caches)]
    if settings.level == "token":
        values = {name: np.stack([part[name] for part in measured]) for name in names}
        references = {name: _with_band(values_NL) for name, values_NL in values.items()}
    else:
        states = torch.from_numpy(np.stack([part["hidden"] for part in measured], axis=1))
        hidden = [nearest(state_ND, settings.k, clamp=settings.clamp) for state_ND in states]
        references = {}
        for name in names:
            features_ND = torch.from_numpy(np.stack([part[name] for part in measured]))
            target = nearest(features_ND, settings.k, clamp=settings.clamp)
            references[name] = {"mean": plain(np.array([cknna(state, target) for state in hidden]))}
    return {"layers": measured[0]["layers"].tolist(), "references": references}


def _with_band(values_NL: np.ndarray) -> dict[str, Any]:
    low, high = mean_band(values_NL)
    return {
        "mean": plain(values_NL.mean(axis=0)),
        "low": plain(low),
        "high": plain(high),
        "pictures": plain(values_NL),
    }


def _draw(data: Mapping[str, dict[str, Any]], settings: CknnaSettings) -> "Figure":
    references = list(next(iter(data.values()))["references"])
    figure = new_figure(min(PAGE, 4.2 * len(references)), 2.6)
    panels = figure.subplots(1, len(references), sharey=True, squeeze=False)[0]
    depths = {summary["layers"][-1] for summary in data.values()}
    for axes, name in zip(panels, references, strict=True):
        for place, (label, summary) in enumerate(data.items()):
            values = summary["references"][name]
            # Models of different depth meet where they are equally deep.
            x = [layer / (summary["layers"][-1] if len(depths) > 1 else 1) for layer in summary["layers"]]
            line(axes, x, values["mean"], place, label)
            if settings.level == "token":
                band(axes, x, values["low"], values["high"], place)
        axes.set_title(f"with the {name}" if name == TOWER else f"with {name}")
        axes.set_xlabel("layer" if len(depths) == 1 else "layer / depth")
        axes.grid(axis="y")
        axes.xaxis.get_major_locator().set_params(integer=len(depths) == 1)
    panels[0].set_ylabel("CKNNA")
    panels[-1].legend()
    return figure


CKNNA = Analysis(name="cknna", title="Alignment of layers with vision features (CKNNA)", measure=measure, report=report)
