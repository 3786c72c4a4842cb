"""Linear probes: what can be read from a model's patch tokens by ridge regression.

Run `python -m viral.microworld.probes` for the table of teacher against tower.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from viral.data.images import normalise
from viral.microworld.cells import NOTHING
from viral.microworld.parts import TEACHER, TOWER, WEIGHTS, parts
from viral.microworld.pretrain.corpus import pictures
from viral.microworld.pretrain.targets import patch_targets
from viral.microworld.scenes import COLOURS, SHAPES
from viral.microworld.teacher import MICRO_TEACHER

FIRST_PICTURE = 200_000
"""Pictures that no part was trained on."""
RIDGE = 1e-3
Features = Callable[[np.ndarray], np.ndarray]


def tower_features(path: str) -> Features:
    """Squares, uint8 [B, S, S, 3] -> what a LLaVA student gets: patch tokens of the last layer but one."""
    from transformers import CLIPVisionModel

    from viral.mllm.load import load_pixel_spec

    tower = CLIPVisionModel.from_pretrained(path, dtype=torch.float32).eval()
    spec = load_pixel_spec(path)

    @torch.no_grad()
    def features(squares: np.ndarray) -> np.ndarray:
        hidden = tower(normalise(squares, spec), output_hidden_states=True).hidden_states[-2]
        return hidden[:, 1:].numpy()

    return features


def teacher_features(path: str) -> Features:
    """Squares, uint8 [B, S, S, 3] -> the normalised patch tokens a cache would hold."""
    from viral.teachers.load import load_teacher

    teacher = load_teacher(MICRO_TEACHER, path)
    return lambda squares: teacher(torch.from_numpy(squares)).numpy()


def probe_table(features: Features, *, num_train: int = 3000, num_test: int = 1500) -> dict[str, float]:
    """Test scores of the probes, each in [0, 1] (R^2 may fall below 0).

    From the mean token: `existence` (accuracy per shape, half chance removed: informedness), `count` (R^2 of
    the number of things per shape). From single tokens on things: `position` (R^2 of the offset to the thing's
    middle), `shape`, `colour` and `attribute`, their conjunction (accuracies).
    """
    scenes, squares = pictures(0, num_train + num_test, FIRST_PICTURE)
    tokens = np.concatenate([features(squares[i : i + 256]) for i in range(0, len(squares), 256)])
    labels = patch_targets(scenes)
    split = slice(0, num_train), slice(num_train, None)
    counts = labels["centres"].sum(axis=1)
    pooled = [tokens[part].mean(axis=1) for part in split]
    seen = [labels["shape"][part] != NOTHING for part in split]
    single = [tokens[part][mask] for part, mask in zip(split, seen, strict=True)]

    def on_things(name: str) -> tuple[np.ndarray, np.ndarray]:
        train, test = (labels[name][part][mask] for part, mask in zip(split, seen, strict=True))
        return train, test

    present = _ridge(pooled[0], (counts[split[0]] > 0).astype(float), pooled[1]) > 0.5
    gold = counts[split[1]] > 0
    offset_train, offset_test = on_things("offset")
    (shape_train, shape_test), (colour_train, colour_test) = on_things("shape"), on_things("colour")
    shape_right = _classify(single[0], shape_train, single[1], len(SHAPES)) == shape_test
    colour_right = _classify(single[0], colour_train, single[1], len(COLOURS)) == colour_test
    return {
        "existence": float(present[gold].mean() - present[~gold].mean()),
        "count": _r2(_ridge(pooled[0], counts[split[0]], pooled[1]), counts[split[1]]),
        "position": _r2(_ridge(single[0], offset_train, single[1]), offset_test),
        "shape": float(shape_right.mean()),
        "colour": float(colour_right.mean()),
        "attribute": float((shape_right & colour_right).mean()),
    }


def _ridge(x: np.ndarray, y: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """Predictions for `x_test` of a ridge regression with intercept, on standardised features."""
    mean, std = x.mean(axis=0), x.std(axis=0) + 1e-6
    x, x_test = ((part.astype(np.float64) - mean) / std for part in (x, x_test))
    weights = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ (y - y.mean(axis=0)))
    return x_test @ weights + y.mean(axis=0)


def _classify(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, classes: int) -> np.ndarray:
    return _ridge(x, np.eye(classes)[y], x_test).argmax(axis=1)


def _r2(predicted: np.ndarray, gold: np.ndarray) -> float:
    return float(1 - np.square(gold - predicted).sum() / np.square(gold - gold.mean(axis=0)).sum())


def main() -> None:
    """Write the probe table of the parts below --weights."""
    parser = argparse.ArgumentParser(prog="python -m viral.microworld.probes", description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    paths = parts(parser.parse_args().weights)
    tables = {
        "teacher": probe_table(teacher_features(paths[TEACHER])),
        "tower": probe_table(tower_features(paths[TOWER])),
    }
    sys.stdout.write(f"{'':8}" + "".join(f"{name:>11}" for name in tables["tower"]) + "\n")
    for part, table in tables.items():
        sys.stdout.write(f"{part:8}" + "".join(f"{value:11.3f}" for value in table.values()) + "\n")


if __name__ == "__main__":
    main()
