"""Attention maps (Figures 4, left, and 12): where a reply's tokens look in the picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill, shorten
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.analyses.figures import PAGE, bare, figure_style, new_figure, picture, plain
from pipelines.analyses.job import Analysis, Drawing, Findings, Job, Labelled, progress
from pipelines.analyses.parts import Arrays, Parts
from viral.analysis.attention import attention_layers, image_attention, upsample
from viral.analysis.layers import square_pictures
from viral.benchmarks import get_profile
from viral.data.images import decode_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipelines.analyses.questions import Asked

DEPTHS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionSettings:
    """`layers` are blocks from 1, or fractions of the depth; None means all."""

    layers: tuple[float, ...] | None = DEPTHS

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        return {"layers": self.layers}


def measure(job: Job, model: Labelled, folder: Path) -> None:
    """For each question the maps of each layer, averaged over heads and generated tokens."""
    from viral.mllm.generate import Question

    settings, parts = job.settings, Parts(folder)
    assert isinstance(settings, AttentionSettings)
    missing = [item for item in job.asked if item.id not in parts]
    if not missing:
        return
    student, mode = job.load(model), get_profile(job.profile).image_mode
    blocks = attention_layers(settings.layers, len(student.model.model.language_model.layers))
    with progress(job, model, "attention", len(job.asked) - len(missing), "question") as advance:
        for item in missing:
            question = Question(item.id, item.prompt, item.image)
            seen = image_attention(
                student, question, blocks, max_new_tokens=job.asked.max_new_tokens, image_mode=mode
            )
            maps = [seen.maps[block].mean(axis=(0, 1)).reshape(student.image.grid) for block in blocks]
            square = square_pictures(student, [decode_image(item.image)], mode)[0]
            arrays = {"layers": np.array(blocks), "maps": np.stack(maps), "square": square}
            parts.write(item.id, arrays | {"reply": np.array(seen.reply)})
            advance(1)


def report(job: Job, folders: Mapping[str, Path]) -> Findings:
    """One figure for each question, models below each other, and the maps as numbers."""
    data, drawings = [], []
    for item in job.asked:
        seen = {label: Parts(folder).read(item.id) for label, folder in folders.items()}
        data.append(
            {"id": item.id, "question": item.question, "answer": item.answer, "models": _values(seen)}
        )
        with figure_style():
            figure = _draw(item, seen)
        caption = (
            "Attention of the generated tokens to the picture, mean over heads and tokens, bilinear between patches. "
            "In each column colours reach from zero to the column's largest value; below a map: the share of all "
            "attention that falls on the image."
        )
        drawings.append(Drawing(figure, f"{_asked(item)} {caption}"))
    return Findings({"questions": data}, drawings)


def _values(seen: Mapping[str, Arrays]) -> dict[str, Any]:
    return {
        label: {
            "reply": str(part["reply"]),
            "layers": part["layers"].tolist(),
            "image_share": plain(part["maps"].sum(axis=(1, 2))),
            "maps": plain(part["maps"]),
        }
        for label, part in seen.items()
    }


def _asked(item: "Asked") -> str:
    return f"{' '.join(item.question.split())}{f' (answer: {item.answer})' if item.answer else ''}"


def _draw(item: "Asked", seen: Mapping[str, Arrays]) -> "Figure":
    columns = 1 + max(len(part["layers"]) for part in seen.values())
    cell = min(1.45, PAGE / columns)
    figure = new_figure(cell * columns, (cell + 0.42) * len(seen) + 0.45)
    figure.suptitle(
        fill(shorten(_asked(item), 220), int(cell * columns * 15)), x=0.01, ha="left", fontsize=8.5
    )
    panels = figure.subplots(len(seen), columns, squeeze=False)
    tops = _column_tops(list(seen.values()), columns)
    for row, (label, part) in zip(panels, seen.items(), strict=True):
        reply = shorten(str(part["reply"]), 40) or "(nothing)"
        picture(row[0], part["square"], label)
        row[0].set_xlabel(fill(f"“{reply}”", int(cell * 14)), fontsize=7.5)
        for axes in row[1:]:
            bare(axes)
        for axes, layer, map_RC, top in zip(row[1:], part["layers"], part["maps"], tops, strict=False):
            _overlay(axes, part["square"], map_RC, top)
            axes.set_title(f"layer {layer}", fontsize=7.5, loc="center", pad=3)
            axes.set_xlabel(f"{100 * map_RC.sum():.0f} %", fontsize=7)
    return figure


def _column_tops(parts: Sequence[Arrays], columns: int) -> list[float]:
    """Largest value of each column of maps, so that models can be compared in it."""
    return [
        max(float(part["maps"][place].max()) for part in parts if place < len(part["maps"]))
        for place in range(columns - 1)
    ]


def _overlay(axes: Any, square: np.ndarray, map_RC: np.ndarray, top: float) -> None:  # noqa: ANN401
    """The map in colour over the picture in grey, which stays visible everywhere."""
    from matplotlib import colormaps

    grey = square.mean(axis=2, keepdims=True) / 255
    strength = upsample(map_RC, len(square)) / (top or 1)
    colours = colormaps["inferno"](strength)[:, :, :3]
    axes.imshow(np.clip(0.4 * grey + 0.6 * colours, 0, 1))


ATTENTION = Analysis(name="attention", title="Attention maps", measure=measure, report=report, gallery=True)
