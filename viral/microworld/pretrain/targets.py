"""What each patch of a picture shows, computed from the scene: for the teacher to learn, for probes to test.

Shapes: N patches (row-major), 64 for the micro grid.
"""

import numpy as np
from PIL import Image, ImageDraw

from viral.microworld.models import GRID, IMAGE_SIZE, PATCH_SIZE
from viral.microworld.scenes import COLOURS, SHAPES, Scene, corners

NOTHING = -1
MIN_COVER = 0.2
"""A patch shows a thing if the thing covers at least this share of it."""


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
    scale = IMAGE_SIZE / max(scene.width, scene.height)
    longer = max(scene.width, scene.height)
    shift = np.array([(longer - scene.width) // 2, (longer - scene.height) // 2])
    canvas = Image.new("L", (IMAGE_SIZE, IMAGE_SIZE), 0)
    for index, thing in enumerate(scene.things):
        outline = (corners(thing) + shift) * scale - 0.5
        ImageDraw.Draw(canvas).polygon([(x, y) for x, y in outline.tolist()], fill=index + 1)
    ids = np.asarray(canvas).reshape(GRID, PATCH_SIZE, GRID, PATCH_SIZE).swapaxes(1, 2)  # rows, columns, y, x
    ids_NP = ids.reshape(GRID * GRID, -1)
    share_NT = np.stack([(ids_NP == index + 1).mean(axis=1) for index in range(len(scene.things))], axis=1)
    shown_N = np.where(share_NT.max(axis=1) >= MIN_COVER, share_NT.argmax(axis=1), NOTHING)
    half = PATCH_SIZE // 2
    quarters = (ids > 0).reshape(GRID, GRID, 2, half, 2, half).mean(axis=(3, 5))

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
