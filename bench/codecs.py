"""What do a codec's bytes buy? Fidelity of the target, error of the gradient, and ties between numpy and torch.

    python bench/codecs.py --out docs

Writes OUT/codecs.json and OUT/codecs.svg, and prints the table of docs/codecs.md. Data: photographs (scikit-image,
scikit-learn) through the trained micro teacher and through DINOv2-S with random weights; and two synthetic kinds of
DINOv2-B's width. Beside the ladder, two usual ways without a rotation.

The gradient is that of the alignment loss with respect to a prediction, for exact and for decoded targets, where the
prediction's cosine to the exact target is 0.8. Shapes: n images, T tokens, D channels.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from codecs_plot import plot
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_images

from pipelines.cache_request import CacheRequest
from stores import CODECS, Codec
from stores.codecs import TABLE_SEED
from viral.codecs import device_tables, encode
from viral.data.images import to_square
from viral.objectives.align import negative_cosine
from viral.teachers.teacher import SQUARE_MODE

TOKENS, DIM, NUM_SYNTHETIC = 576, 768, 4
COSINE = 0.8
"""Of predictions to exact targets, about what a trained head reaches."""


class Way(NamedTuple):
    """A way to keep a target in `bits` a channel: what training sees of it, float32 in and out."""

    name: str
    bits: int
    round_trip: Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of codecs.json and codecs.svg")
    out = parser.parse_args().out
    kinds = {
        "photographs, micro teacher": teacher_features("micro", None, quarters=True),
        "photographs, random DINOv2-S": teacher_features("dinov2-s", "random", quarters=False),
        "synthetic, heavy tails": heavy_tails(),
        "synthetic, common mean and artefacts": common_mean(),
    }
    result = {name: measure(features) for name, features in kinds.items()}
    (out / "codecs.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "codecs.svg").write_text(plot(result))
    print(table(result))


def photographs(quarters: bool) -> list[Image.Image]:
    """Six pictures; with `quarters` their four quarters as well."""
    arrays = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket(), *load_sample_images().images]
    if quarters:
        halves = [half for array in arrays for half in np.array_split(array, 2)]
        arrays += [quarter for half in halves for quarter in np.array_split(half, 2, axis=1)]
    return [Image.fromarray(array) for array in arrays]


def teacher_features(vfm: str, weights: str | None, *, quarters: bool) -> np.ndarray:
    """float32 [n, T, D] of the photographs, as stage one makes them."""
    teacher = CacheRequest(vfm=vfm, weights=weights, device="cpu", dtype="float32").load_teacher()
    side = teacher.spec.image_size
    squares = [to_square(picture, side, SQUARE_MODE) for picture in photographs(quarters)]
    return np.concatenate([teacher(torch.from_numpy(square)[None]).numpy() for square in squares])


def heavy_tails() -> np.ndarray:
    """Student's t with two degrees of freedom: some channels of a token are a hundred times the others."""
    rng = np.random.default_rng(0)
    return rng.standard_t(2, (NUM_SYNTHETIC, TOKENS, DIM)).astype(np.float32)


def common_mean() -> np.ndarray:
    """A mean with most of the energy, uneven channels, and one token in a hundred with fifteen times the norm."""
    rng = np.random.default_rng(1)
    spread_D = np.exp(rng.standard_normal(DIM))
    features = spread_D * (1.5 * rng.standard_normal(DIM) + rng.standard_normal((NUM_SYNTHETIC, TOKENS, DIM)))
    artefact = rng.random((NUM_SYNTHETIC, TOKENS, 1)) < 0.01
    return (features * np.where(artefact, 15, 1)).astype(np.float32)


def measure(features: np.ndarray) -> dict[str, object]:
    """Every way's figures on these features, and the ties of every codec with tables."""
    tokens, dim = features.shape[1:]
    ways, ties = [], {}
    for codec in CODECS.values():
        tables = codec.make_tables(tokens, dim, TABLE_SEED)
        ways.append(_way(codec.name, codec, tables))
        if codec.tables:
            ways.append(
                _way(f"{codec.name} without signs", codec, tables | {"signs": np.ones_like(tables["signs"])})
            )
            ties[codec.name] = _ties(codec, features, tables)
    ways += [Way("fp8 e4m3, token scale", 8, _fp8), Way("int4, token scale", 4, _int4)]
    return {
        "shape": features.shape,
        "ways": {way.name: {"bits": way.bits, **_figures(features, way.round_trip(features))} for way in ways},
        "ties": ties,
    }  # fmt: skip


def _way(name: str, codec: Codec, tables: dict[str, np.ndarray]) -> Way:
    return Way(name, codec.bits, lambda features: codec.decode(codec.encode(features, tables), tables))


def _fp8(features: np.ndarray) -> np.ndarray:
    peak = np.abs(features).max(-1, keepdims=True)
    scaled = torch.from_numpy(features / peak * 448)
    return scaled.to(torch.float8_e4m3fn).float().numpy()


def _int4(features: np.ndarray) -> np.ndarray:
    return np.rint(features / np.abs(features).max(-1, keepdims=True) * 7)


def _figures(features: np.ndarray, decoded: np.ndarray) -> dict[str, float]:
    cosines = _cosines(features, decoded)
    exact, approximate = (_gradient(features, target) for target in (features, decoded))
    error = approximate - exact
    energy = np.square(error).sum(-1).mean(dtype=np.float64)
    return {
        "loss_of_cosine": float(1 - cosines.mean()),
        "p001": float(np.quantile(cosines, 0.001)),
        "worst": float(cosines.min()),
        "gradient_error": float(np.sqrt(energy / np.square(exact).sum(-1).mean(dtype=np.float64))),
        # Share of the error's energy left in its mean over all tokens: what no amount of data averages away.
        "shared_error": float(np.square(error.mean((0, 1), dtype=np.float64)).sum() / energy),
    }


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def _gradient(features: np.ndarray, target: np.ndarray) -> np.ndarray:
    """float32 [n, T, D] of the alignment loss, at predictions with cosine `COSINE` to `features`."""
    rng = np.random.default_rng(2)
    unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
    other = rng.standard_normal(features.shape).astype(np.float32)
    other -= (other * unit).sum(-1, keepdims=True) * unit
    other /= np.linalg.norm(other, axis=-1, keepdims=True)
    predicted = torch.from_numpy(COSINE * unit + np.sqrt(1 - COSINE**2) * other).requires_grad_()
    negative_cosine(predicted, torch.from_numpy(target)).mean().backward()
    return predicted.grad.numpy() * (features.shape[0] * features.shape[1])


def _ties(codec: Codec, features: np.ndarray, tables: dict[str, np.ndarray]) -> dict[str, float]:
    """Share of bytes in which numpy and torch, both in float32, disagree; and how the cosines differ."""
    reference = codec.encode(features, tables)
    codes = encode(codec.name, torch.from_numpy(features), device_tables(tables, "cpu")).numpy()
    cosines = [_cosines(features, codec.decode(found, tables)) for found in (reference, codes)]
    return {
        "bytes_that_differ": float((codes != reference).mean()),
        "change_of_mean_cosine": float(abs(cosines[1].mean() - cosines[0].mean())),
        "largest_change_of_a_cosine": float(np.abs(cosines[1] - cosines[0]).max()),
    }


def table(result: dict[str, dict]) -> str:
    """Markdown: each way's range over the kinds of data."""
    lines = [
        "| codec | bytes/token, D=768 | 350K images | mean cosine | 0.1-percentile (worst kind) | gradient error |",
        "|---|---|---|---|---|---|",
    ]
    for name in next(iter(result.values()))["ways"]:
        if name.endswith("without signs"):
            continue
        found = [kind["ways"][name] for kind in result.values()]
        size = found[0]["bits"] * DIM // 8
        low, high = (1 - pick(way["loss_of_cosine"] for way in found) for pick in (max, min))
        errors = sorted(way["gradient_error"] for way in found)
        lines.append(
            f"| {name} | {size} | {size * TOKENS * 350_000 / 1e9:.0f} GB | {low:.6f} - {high:.6f} "
            f"| {min(way['p001'] for way in found):.5f} | {errors[0]:.4f} - {errors[-1]:.4f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
