"""What each patch of a picture shows, computed from the scene: for the teacher to learn, for probes to test.

Shapes: N patches (row-major), 64 for the micro grid.
"""

import numpy as np

from viral.microworld.cells import NOTHING, patches, shown, to_square_px
from viral.microworld.models import GRID, PATCH_SIZE
from viral.microworld.scenes import COLOURS, SHAPES, Scene


def patch_targets(scenes: list[Scene]) -> dict[str, np.ndarray]:
    """Labels of the padded, resized squares of B scenes.

    `shape`, `colour`: int64 [B, N], index into SHAPES and COLOURS, NOTHING for plain ground and padding.
    `cover`: float32 [B, N, 4], covered share of the patch's four quarters, from which edges can be read.
    `offset`: float32 [B, N, 2], from the patch's middle to that of the thing it shows, in patches (x, y).
    `centres`: float32 [B, N, shapes], number of things of each shape whose middle lies in the patch.
    """
    rows = [_targets_of(scene) for scene in scenes]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _targets_of(scene: Scene) -> dict[str, np.ndarray]:
    ids_NP = patches(scene)
    shown_N = shown(ids_NP, len(scene.things))
    half = PATCH_SIZE // 2
    quarters = (ids_NP > 0).reshape(GRID * GRID, 2, half, 2, half).mean(axis=(2, 4))

    scale, shift = to_square_px(scene)
    places_T2 = np.array(
        [(np.array([thing.x, thing.y]) + shift) * scale / PATCH_SIZE for thing in scene.things]
    )
    rows, columns = np.divmod(np.arange(GRID * GRID), GRID)
    middles_N2 = np.stack([columns, rows], axis=1) + 0.5
    seen = (shown_N != NOTHING)[:, None]
    centres_NS = np.zeros((GRID * GRID, len(SHAPES)), dtype=np.float32)
    for (x, y), thing in zip(places_T2, scene.things, strict=True):
        centres_NS[int(y) * GRID + int(x), SHAPES.index(thing.shape)] += 1
    shapes = np.array([SHAPES.index(thing.shape) for thing in scene.things] + [NOTHING])
    colours = np.array([list(COLOURS).index(thing.colour) for thing in scene.things] + [NOTHING])
    return {
        "shape": shapes[shown_N],
        "colour": colours[shown_N],
        "cover": quarters.reshape(GRID * GRID, 4).astype(np.float32),
        "offset": ((places_T2[shown_N] - middles_N2) * seen).astype(np.float32),
        "centres": centres_NS,
    }
