"""Layer-wise CKNNA between visual tokens and vision features (Figures 2 and 9): do the layers keep what was seen?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipelines.analyses.caches import CachedFeatures
from pipelines.analyses.figures import PAGE, figure_style, new_figure, plain
from pipelines.analyses.job import Analysis, Drawing, Findings, Job, Labelled, progress
from pipelines.analyses.layer_curves import CURVES, PAIRED, Curve, curves, draw_curves, has_differences
from pipelines.analyses.parts import Arrays, Parts
from viral.analysis.cknna import CLAMP, NUM_NEIGHBOURS, Neighbours, cknna, nearest
from viral.analysis.layers import TokenGroup, token_groups
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
    student, mode = job.load(model, tiles=True), get_profile(job.profile).image_mode
    for cache in settings.caches:
        cache.check(mode)
    layers = wanted_layers(student, settings.layers)
    done = len(job.asked) - len(missing)
    with progress(job, model, "CKNNA", done, "img") as advance:
        for start in range(0, len(missing), job.batch_size):
            batch = missing[start : start + job.batch_size]
            images = [decode_image(item.image) for item in batch]
            seen = token_groups(student, images, layers, image_mode=mode)
            for item, groups in zip(batch, seen, strict=True):
                references = {TOWER: [group.tower for group in groups]} | {
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
    """By reference and model, CKNNA at each layer: the mean over pictures with its band, or that of all pictures."""
    settings = job.settings
    assert isinstance(settings, CknnaSettings)
    parts = {label: [Parts(folder).read(item.id) for item in job.asked] for label, folder in folders.items()}
    layers = {label: of_model[0]["layers"].tolist() for label, of_model in parts.items()}
    names = [TOWER, *(cache.label for cache in settings.caches)]
    references = {name: _curves(name, parts, layers, settings) for name in names}
    with figure_style():
        figure = _draw(references)
    unit = "tokens of a picture" if settings.level == "token" else "mean tokens of pictures"
    caption = [
        f"CKNNA (k = {settings.k}, {unit}) between each layer's visual tokens and vision features, "
        f"{len(job.asked)} pictures of {job.asked.source}. Layer 0 is the projected image."
    ]
    if settings.level == "token":
        caption += [CURVES, PAIRED.format("pictures")][: 1 + has_differences(references[TOWER])]
    return Findings({"references": references}, [Drawing(figure, " ".join(caption))])


def _aligned(
    groups: Sequence[TokenGroup], references: Mapping[str, list[torch.Tensor]], settings: CknnaSettings
) -> dict[str, np.ndarray]:
    """CKNNA [layers] with each reference; of a picture in tiles the mean over those with more than k tokens."""

    def neighbours(features_TD: torch.Tensor) -> Neighbours:
        return nearest(features_TD, settings.k, clamp=settings.clamp)

    large = [place for place, group in enumerate(groups) if len(groups) == 1 or len(group.tower) > settings.k]
    hidden = [{layer: neighbours(state) for layer, state in groups[at].hidden.items()} for at in large]
    values = {}
    for name, features in references.items():
        if len(features) != len(groups):
            raise ConfigError(
                f"{name} has {len(features)} sets of tokens for a picture of which the model sees {len(groups)} tiles; "
                "leave --cache out for such a model."
            )
        per_group = [
            [cknna(state, neighbours(features[at])) for state in states.values()]
            for at, states in zip(large, hidden, strict=True)
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


def _curves(
    name: str, parts: Mapping[str, Sequence[Arrays]], layers: Mapping[str, list[int]], settings: CknnaSettings
) -> dict[str, Curve]:
    if settings.level == "token":
        return curves(layers, {label: np.stack([part[name] for part in of]) for label, of in parts.items()})
    return {
        label: {"layers": layers[label], "mean": plain(_of_pooled(name, of, settings))}
        for label, of in parts.items()
    }


def _of_pooled(name: str, parts: Sequence[Arrays], settings: CknnaSettings) -> np.ndarray:
    """CKNNA [layers] over pictures."""
    hidden_LND = torch.from_numpy(np.stack([part["hidden"] for part in parts], axis=1))
    features_NC = torch.from_numpy(np.stack([part[name] for part in parts]))
    target = nearest(features_NC, settings.k, clamp=settings.clamp)
    states = (nearest(state_ND, settings.k, clamp=settings.clamp) for state_ND in hidden_LND)
    return np.array([cknna(state, target) for state in states])


def _draw(references: Mapping[str, Mapping[str, Curve]]) -> "Figure":
    paired = has_differences(next(iter(references.values())))
    figure = new_figure(min(PAGE, 4.2 * len(references)), 3.8 if paired else 2.6)
    rows = figure.subplots(
        1 + paired,
        len(references),
        sharex="col",
        sharey="row",
        squeeze=False,
        height_ratios=[2, 1][: 1 + paired],
    )
    for column, (name, found) in enumerate(references.items()):
        draw_curves(rows[0][column], rows[1][column] if paired else None, found)
        rows[0][column].set_title(f"with the {name}" if name == TOWER else f"with {name}")
    rows[0][0].set_ylabel("CKNNA")
    rows[-1][0].set_ylabel("difference" if paired else "CKNNA")
    rows[0][-1].legend()
    return figure


CKNNA = Analysis(
    name="cknna", title="Alignment of layers with vision features (CKNNA)", measure=measure, report=report
)
