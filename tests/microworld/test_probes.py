"""Probes: perfect features score one, noise scores nothing."""

import numpy as np

from viral.microworld.models import GRID
from viral.microworld.pretrain.corpus import pictures
from viral.microworld.pretrain.targets import patch_targets
from viral.microworld.probes import FIRST_PICTURE, probe_table
from viral.microworld.scenes import COLOURS, SHAPES

SIZES = {"num_train": 300, "num_test": 100}


def test_features_that_hold_the_answers_score_one() -> None:
    scenes, _ = pictures(0, 400, FIRST_PICTURE)
    targets = patch_targets(scenes)
    answers = np.concatenate(
        [
            targets["centres"],
            targets["offset"],
            np.eye(len(SHAPES))[targets["shape"]],
            np.eye(len(COLOURS))[targets["colour"]],
        ],
        axis=2,
    )
    given = iter((answers[:256], answers[256:]))
    table = probe_table(lambda squares: next(given), **SIZES)
    assert min(table["count"], table["position"]) > 0.99
    assert min(table["shape"], table["colour"], table["attribute"]) > 0.99
    assert table["existence"] > 0.6  # a count is not quite linear in its presence


def test_noise_scores_nothing() -> None:
    rng = np.random.default_rng(0)
    table = probe_table(lambda squares: rng.normal(size=(len(squares), GRID * GRID, 8)), **SIZES)
    assert max(table["count"], table["position"], table["existence"]) < 0.1
    assert table["attribute"] < 0.15
