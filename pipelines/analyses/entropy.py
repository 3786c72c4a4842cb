"""Spatial entropy of attention by layer and head (Figure 4, right): how focused is a reply's look at the picture?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.analyses.figures import PAGE, band, figure_style, line, new_figure, plain
from pipelines.analyses.job import Analysis, Drawing, Findings, Job, Labelled, progress
from pipelines.analyses.parts import Arrays, Parts
from viral.analysis.attention import attention_layers, image_attention
from viral.analysis.bootstrap import mean_band
from viral.analysis.entropy import THRESHOLD, spatial_entropy
from viral.benchmarks import get_profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipelines.analyses.questions import Asked
    from viral.mllm.student import Student


@dataclass(frozen=True, kw_only=True, slots=True)
class EntropySettings:
    """`threshold` is absolute (see `spatial_entropy`); `layers` None means all blocks."""

    layers: tuple[float, ...] | None = None
    threshold: float = THRESHOLD

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        return {"layers": self.layers, "threshold": self.threshold}


def measure(job: Job, model: Labelled, folder: Path) -> None:
    """For each question the entropy of each head, averaged over the generated tokens."""
    settings, parts = job.settings, Parts(folder)
    assert isinstance(settings, EntropySettings)
    missing = [item for item in job.asked if item.id not in parts]
    if not missing:
        return
    student = job.load(model)
    blocks = attention_layers(settings.layers, len(student.model.model.language_model.layers))
    with progress(job, model, "entropy", len(job.asked) - len(missing), "question") as advance:
        for item in missing:
            parts.write(item.id, _of_reply(student, item, blocks, job, settings.threshold))
            advance(1)


def report(job: Job, folders: Mapping[str, Path]) -> Findings:
    """Mean over questions by model, layer and head, and by layer with its bootstrap band."""
    data = {label: _summary(job, Parts(folder)) for label, folder in folders.items()}
    with figure_style():
        figure = _draw(data)
    caption = (
        f"Spatial entropy, in nats, of generated tokens' attention to the image: {len(job.asked)} questions of "
        f"{job.asked.source}. Above: mean over questions by layer and head, one colour scale; below: mean over heads, "
        "95 % bootstrap band over questions. Lower is more focused."
    )
    return Findings(data, [Drawing(figure, caption)])


def _of_reply(student: "Student", item: "Asked", blocks: tuple[int, ...], job: Job, threshold: float) -> Arrays:
    from viral.mllm.generate import Question

    seen = image_attention(
        student,
        Question(item.id, item.prompt, item.image),
        blocks,
        max_new_tokens=job.asked.max_new_tokens,
        image_mode=get_profile(job.profile).image_mode,
    )
    maps_LSHT = np.stack([seen.maps[block] for block in blocks])
    entropy_M, blobs_M = spatial_entropy(maps_LSHT.reshape(-1, *student.image.grid), threshold)
    entropy_LSH, blobs_LSH = (values.reshape(maps_LSHT.shape[:3]) for values in (entropy_M, blobs_M))
    finite_LSH = np.isfinite(entropy_LSH)
    num_finite_LH = finite_LSH.sum(axis=1)
    sum_LH = np.where(finite_LSH, entropy_LSH, 0).sum(axis=1)
    return {
        "layers": np.array(blocks),
        "entropy": np.where(num_finite_LH > 0, sum_LH / np.maximum(num_finite_LH, 1), np.nan),
        "maps": np.array(maps_LSHT.shape[1]),
        "infinite": (~finite_LSH).sum(axis=1),
        "blobless": (finite_LSH & (blobs_LSH == 0)).sum(axis=1),
        "reply": np.array(seen.reply),
    }


def _summary(job: Job, parts: Parts) -> dict[str, Any]:
    measured = [parts.read(item.id) for item in job.asked]
    entropy_NLH = np.stack([part["entropy"] for part in measured])
    maps = sum(int(part["maps"]) for part in measured)
    infinite_LH, blobless_LH = (sum(part[name] for part in measured) for name in ("infinite", "blobless"))
    per_layer_NL = _mean(entropy_NLH, axis=2)
    low, high = mean_band(per_layer_NL)
    return {
        "layers": measured[0]["layers"].tolist(),
        "entropy": plain(_mean(entropy_NLH, axis=0)),
        "per_layer": {"mean": plain(_mean(per_layer_NL, axis=0)), "low": plain(low), "high": plain(high)},
        "maps_per_head": maps,
        "infinite": np.asarray(infinite_LH).tolist(),
        "blobless": np.asarray(blobless_LH).tolist(),
        "replies": {item.id: str(part["reply"]) for item, part in zip(job.asked, measured, strict=True)},
    }


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean of what is known; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total: np.ndarray = np.where(known, values, 0).sum(axis=axis) / np.maximum(count, 1)
    return np.where(count > 0, total, np.nan)


def _draw(data: Mapping[str, dict[str, Any]]) -> "Figure":
    figure = new_figure(PAGE, 5.0)
    rows = figure.subfigures(2, 1, height_ratios=[1.15, 1])
    panels = rows[0].subplots(1, len(data), squeeze=False)[0]
    axes = rows[1].subplots()
    grids = {label: np.array(summary["entropy"], float) for label, summary in data.items()}
    top = max(float(np.nanmax(grid)) for grid in grids.values())
    depths = {summary["layers"][-1] for summary in data.values()}
    for place, (label, summary) in enumerate(data.items()):
        layers, panel, grid_LH = summary["layers"], panels[place], grids[label]
        shown = panel.imshow(grid_LH.T, cmap="cividis", vmin=0, vmax=top or 1, aspect="auto", origin="lower")
        panel.set(title=label, xlabel="layer", ylabel="" if place else "head")
        _count_ticks(panel.xaxis, layers)
        _count_ticks(panel.yaxis, range(1, grid_LH.shape[1] + 1))
        panel.spines[:].set_visible(False)
        x = [layer / (layers[-1] if len(depths) > 1 else 1) for layer in layers]
        line(axes, x, summary["per_layer"]["mean"], place, label)
        band(axes, x, summary["per_layer"]["low"], summary["per_layer"]["high"], place)
    bar = rows[0].colorbar(shown, ax=list(panels), label="spatial entropy (nats)", pad=0.02)
    bar.outline.set_visible(False)
    axes.set(
        xlabel="layer" if len(depths) == 1 else "layer / depth", ylabel="mean over heads (nats)", ylim=(0, None)
    )
    axes.xaxis.get_major_locator().set_params(integer=len(depths) == 1)
    axes.grid(axis="y")
    axes.legend()
    return figure


def _count_ticks(axis: Any, names: Any) -> None:  # noqa: ANN401 - matplotlib's axis; any sequence of numbers
    step = max(1, len(names) // 8)
    axis.set_ticks(range(0, len(names), step), [str(name) for name in names[::step]])


ENTROPY = Analysis(name="entropy", title="Spatial entropy of attention", measure=measure, report=report)
