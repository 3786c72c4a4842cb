"""Spatial entropy of attention by layer and head (Figure 4, right): how focused is a reply's look at the picture?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pipelines.analyses.figures import PAGE, figure_style, new_figure, plain
from pipelines.analyses.job import Analysis, Drawing, Findings, Job, Labelled, progress
from pipelines.analyses.layer_curves import CURVES, PAIRED, Curve, curves, draw_curves, has_differences
from pipelines.analyses.parts import Arrays, Parts
from viral.analysis.attention import attention_layers, image_attention
from viral.analysis.bootstrap import nan_mean
from viral.analysis.entropy import THRESHOLD, spatial_entropy
from viral.benchmarks import get_profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

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
    """Mean over questions by model, layer and head; by layer its band and the difference to the first model."""
    parts = {label: [Parts(folder).read(item.id) for item in job.asked] for label, folder in folders.items()}
    layers = {label: of_model[0]["layers"].tolist() for label, of_model in parts.items()}
    entropy = {label: np.stack([part["entropy"] for part in of_model]) for label, of_model in parts.items()}
    per_layer = curves(layers, {label: nan_mean(values_NLH, axis=2) for label, values_NLH in entropy.items()})
    heads = {label: nan_mean(values_NLH, axis=0) for label, values_NLH in entropy.items()}
    data: dict[str, Any] = {
        "heads": {label: plain(grid_LH) for label, grid_LH in heads.items()},
        "per_layer": per_layer,
        "maps": {label: _counts(of_model) for label, of_model in parts.items()},
        "replies": {
            label: {item.id: str(part["reply"]) for item, part in zip(job.asked, of_model, strict=True)}
            for label, of_model in parts.items()
        },
    }
    with figure_style():
        figure = _draw(heads, per_layer)
    caption = (
        f"Spatial entropy, in nats, of generated tokens' attention to the image: {len(job.asked)} questions of "
        f"{job.asked.source}. Top: mean over questions by layer and head, one colour scale. Middle: mean over heads. "
        "Lower is more focused. Maps without a blob count as 0: "
        f"{', '.join(f'{label} {_blobless_percent(maps):.0f} %' for label, maps in data['maps'].items())} of all."
    )
    notes = [CURVES, PAIRED.format("questions")][: 1 + has_differences(per_layer)]
    return Findings(data, [Drawing(figure, " ".join([caption, *notes]))])


def _of_reply(
    student: "Student", item: "Asked", blocks: tuple[int, ...], job: Job, threshold: float
) -> Arrays:
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


def _counts(parts: Sequence[Arrays]) -> dict[str, Any]:
    """Attention maps of each head; by layer and head those left out for infinite entropy, and those without a blob."""
    return {
        "per_head": sum(int(part["maps"]) for part in parts),
        "infinite": sum(part["infinite"] for part in parts).tolist(),  # type: ignore[union-attr]
        "blobless": sum(part["blobless"] for part in parts).tolist(),  # type: ignore[union-attr]
    }


def _blobless_percent(maps: Mapping[str, Any]) -> float:
    blobless_LH = np.array(maps["blobless"])
    return float(100 * blobless_LH.sum() / (maps["per_head"] * blobless_LH.size))


def _draw(heads: Mapping[str, np.ndarray], per_layer: Mapping[str, Curve]) -> "Figure":
    paired = has_differences(per_layer)
    figure = new_figure(PAGE, 6.2 if paired else 4.8)
    top, bottom = cast(
        "Sequence[SubFigure]", figure.subfigures(2, 1, height_ratios=[2.4, 3.4 if paired else 2])
    )
    panels = top.subplots(1, len(heads), squeeze=False)[0]
    largest = max(float(np.nan_to_num(grid_LH).max()) for grid_LH in heads.values())
    for panel, (label, grid_LH) in zip(panels, heads.items(), strict=True):
        shown = panel.imshow(
            grid_LH.T, cmap="cividis", vmin=0, vmax=largest or 1, aspect="auto", origin="lower"
        )
        panel.set(title=label, xlabel="layer", ylabel="head" if panel is panels[0] else "")
        _count_ticks(panel.xaxis, per_layer[label]["layers"])
        _count_ticks(panel.yaxis, range(1, grid_LH.shape[1] + 1))
        panel.spines[:].set_visible(False)
    bar = top.colorbar(shown, ax=list(panels), label="spatial entropy (nats)", pad=0.02)
    bar.outline.set_visible(False)
    rows = bottom.subplots(1 + paired, 1, sharex=True, squeeze=False, height_ratios=[2, 1][: 1 + paired])[
        :, 0
    ]
    draw_curves(rows[0], rows[1] if paired else None, per_layer)
    rows[0].set(ylabel="mean over heads (nats)", ylim=(0, None))
    if paired:
        rows[1].set_ylabel("difference")
    rows[0].legend()
    return figure


def _count_ticks(axis: Any, names: Any) -> None:  # noqa: ANN401 - matplotlib's axis; any sequence of numbers
    step = max(1, len(names) // 8)
    axis.set_ticks(range(0, len(names), step), [str(name) for name in names[::step]])


ENTROPY = Analysis(name="entropy", title="Spatial entropy of attention", measure=measure, report=report)
