"""PCA maps of visual tokens across layers (Figures 5, 10 and 11), beside the vision tower's and a teacher's."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.analyses.caches import CachedFeatures
from pipelines.analyses.cknna import TOWER, wanted_layers
from pipelines.analyses.figures import PAGE, bare, figure_style, new_figure, picture
from pipelines.analyses.job import Analysis, Drawing, Findings, Job, Labelled, progress
from pipelines.analyses.parts import Arrays, Parts
from viral.analysis.layers import square_pictures, token_groups
from viral.analysis.pca import pca_pictures
from viral.benchmarks import get_profile
from viral.data.images import decode_image
from viral.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
PER_LINE = 9
_LAYER = "layer "
BASES = {
    "own": "Each map has a basis of its own: colours cannot be compared between maps.",
    "models": "The models share a basis at each layer: down a column equal colours mean equal directions of tokens.",
    "all": "All layers and models share a basis: equal colours mean equal directions of tokens.",
}
"""Which maps of a picture share one fit, so that their colours can be compared; they must be of one width."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PcaSettings:
    """`layers` None means all; `basis` is one of BASES."""

    layers: tuple[float, ...] | None = DEPTHS
    basis: str = "own"
    caches: tuple[CachedFeatures, ...] = ()

    def __post_init__(self) -> None:
        if self.basis not in BASES:
            raise ConfigError(f"--basis {self.basis!r}; expected one of {', '.join(BASES)}.")

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "layers": self.layers,
            "basis": self.basis,
            "caches": {cache.label: cache.describe() for cache in self.caches},
        }


def measure(job: Job, model: Labelled, folder: Path) -> None:
    """For each picture the features of tower, caches and layers in half precision, and the square itself."""
    settings, parts = job.settings, Parts(folder)
    assert isinstance(settings, PcaSettings)
    missing = [item for item in job.asked if item.id not in parts]
    if not missing:
        return
    student, mode = job.load(model), get_profile(job.profile).image_mode
    for cache in settings.caches:
        cache.check(mode)
    layers = wanted_layers(student, settings.layers)
    with progress(job, model, "PCA", len(job.asked) - len(missing), "img") as advance:
        for item in missing:
            images = [decode_image(item.image)]
            ((group,),) = token_groups(student, images, layers, image_mode=mode)
            features = {TOWER: group.tower}
            features |= {cache.label: cache.features(item.image, student) for cache in settings.caches}
            features |= {f"{_LAYER}{layer}": state_TD for layer, state_TD in group.hidden.items()}
            arrays = {name: values.half().cpu().numpy() for name, values in features.items()}
            made = {
                "square": square_pictures(student, images, mode)[0],
                "grid": np.array(student.image.grid),
                "layers": np.array(layers),
            }
            parts.write(item.id, made | arrays)
            advance(1)


def report(job: Job, folders: Mapping[str, Path]) -> Findings:
    """One figure for each picture: references above, a band of layers for each model."""
    settings = job.settings
    assert isinstance(settings, PcaSettings)
    drawings, data = [], []
    for item in job.asked:
        measured = {label: Parts(folder).read(item.id) for label, folder in folders.items()}
        maps = _coloured(measured, settings)
        with figure_style():
            figure = _draw(measured, maps)
        drawings.append(
            Drawing(
                figure,
                f"Picture {item.id}: three leading principal components of the tokens. {BASES[settings.basis]}",
            )
        )
        data.append(
            {"id": item.id, "layers": {label: part["layers"].tolist() for label, part in measured.items()}}
        )
    return Findings({"pictures": data, "basis": settings.basis}, drawings)


def _coloured(measured: Mapping[str, Arrays], settings: PcaSettings) -> dict[tuple[str, str], np.ndarray]:
    """Colour maps by model and name of the features."""
    features = {
        (label, name): part[name].astype(np.float64)
        for label, part in measured.items()
        for name in [TOWER, *(cache.label for cache in settings.caches), *_layer_names(part)]
    }
    groups: dict[object, list[tuple[str, str]]] = {}
    for place in features:
        groups.setdefault(_basis_of(place, settings.basis), []).append(place)
    maps: dict[tuple[str, str], np.ndarray] = {}
    for places in groups.values():
        arrays = [features[place] for place in places]
        if len(arrays) > 1:  # tokens grow from layer to layer: a common scale would show the last ones only
            arrays = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in arrays]
        rows, columns = measured[places[0][0]]["grid"].tolist()
        drawn = pca_pictures(arrays, (rows, columns), shared_basis=len(arrays) > 1)
        maps |= dict(zip(places, drawn, strict=True))
    return maps


def _basis_of(place: tuple[str, str], basis: str) -> object:
    """What the maps of one fit have in common. Tower and caches are the same for all models, and drawn once."""
    _label, name = place
    return place if basis == "own" or not name.startswith(_LAYER) else name if basis == "models" else None


def _layer_names(part: Arrays) -> list[str]:
    return [f"{_LAYER}{layer}" for layer in part["layers"]]


def _draw(measured: Mapping[str, Arrays], maps: Mapping[tuple[str, str], np.ndarray]) -> "Figure":
    """The picture and what it is compared with above, layers below; all in one line if each model has one layer."""
    first = next(iter(measured))
    references = [name for label, name in maps if label == first and not name.startswith(_LAYER)]
    rows: list[tuple[str, list[tuple[str, np.ndarray]]]] = [
        ("", [("picture", measured[first]["square"]), *((name, maps[first, name]) for name in references)])
    ]
    for label, part in measured.items():
        names = _layer_names(part)
        if all(len(part["layers"]) == 1 for part in measured.values()):
            rows[0][1].append((f"{label}\n{names[0]}", maps[label, names[0]]))
            continue
        for start in range(0, len(names), PER_LINE):
            cells = [(name, maps[label, name]) for name in names[start : start + PER_LINE]]
            rows.append((label if start == 0 else "", cells))
    columns = max(len(cells) for _label, cells in rows)
    cell = min(1.3, (PAGE - 0.3) / columns)
    figure = new_figure(cell * columns + 0.3, (cell + 0.22) * len(rows) + 0.1)
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for line, (label, cells) in zip(panels, rows, strict=True):
        for axes in line:
            bare(axes)
        for axes, (name, pixels) in zip(line, cells, strict=False):
            picture(axes, pixels, name)
        line[0].set_ylabel(label, fontsize=8)
    return figure


PCA = Analysis(
    name="pca", title="PCA of visual tokens across layers", measure=measure, report=report, gallery=True
)
