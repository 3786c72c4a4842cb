"""Scenes as text: a map of one word per patch, in reading order, as the student's image tokens lie.

A language model has met drawings made of characters before it sees a picture; this small one meets maps.
"""

import numpy as np
from PIL import Image, ImageDraw

from viral.microworld.models import GRID, IMAGE_SIZE, PATCH_SIZE
from viral.microworld.scenes import COLOURS, GROUNDS, SHAPES, Scene, Thing, corners

NOTHING = -1
"""In place of a thing's index: plain ground or padding."""
MIN_COVER = 0.2
"""A patch shows a thing if the thing covers at least this share of it."""
BLANK = "[blank]"
"""The word for a patch that is all padding."""
CELL_WORDS = (
    BLANK,
    *(f"[{ground}]" for ground in GROUNDS),
    *(f"[{colour} {shape}]" for shape in SHAPES for colour in COLOURS),
)
"""Every word a map can hold; one token each."""


def patches(scene: Scene) -> np.ndarray:
    """Per patch, the number of the thing at each of its px: int [N, 64], 0 for none; N patches, row-major."""
    scale, shift = to_square_px(scene)
    canvas = Image.new("L", (IMAGE_SIZE, IMAGE_SIZE), 0)
    for index, thing in enumerate(scene.things):
        outline = (corners(thing) + shift) * scale - 0.5
        ImageDraw.Draw(canvas).polygon([(x, y) for x, y in outline.tolist()], fill=index + 1)
    ids = np.asarray(canvas).reshape(GRID, PATCH_SIZE, GRID, PATCH_SIZE).swapaxes(1, 2)
    return ids.reshape(GRID * GRID, -1)


def shown(ids_NP: np.ndarray, num_things: int) -> np.ndarray:
    """Index of the thing each patch shows, or NOTHING: int [N], from `patches`."""
    share_NT = np.stack([(ids_NP == index + 1).mean(axis=1) for index in range(num_things)], axis=1)
    return np.where(share_NT.max(axis=1) >= MIN_COVER, share_NT.argmax(axis=1), NOTHING)


def text_map(scene: Scene) -> str:
    """The scene in words: `[sand][sand][red star][red star][sand]...`, 64 of them."""
    _, (left, top) = to_square_px(scene)
    side = max(scene.width, scene.height) / GRID
    words = []
    for cell, thing in enumerate(shown(patches(scene), len(scene.things)).tolist()):
        x, y = (cell % GRID + 0.5) * side - left, (cell // GRID + 0.5) * side - top
        if thing != NOTHING:
            words.append(f"[{scene.things[thing].colour} {scene.things[thing].shape}]")
        else:
            words.append(f"[{scene.ground}]" if 0 < x < scene.width and 0 < y < scene.height else BLANK)
    return "".join(words)


def place_of(thing: Thing, scene: Scene) -> str:
    """`column 3 row 5`: the patch that holds the thing's middle, counted from 1 at the top left."""
    scale, shift = to_square_px(scene)
    column, row = ((np.array([thing.x, thing.y]) + shift) * scale // PATCH_SIZE + 1).astype(int).tolist()
    return f"column {column} row {row}"


def to_square_px(scene: Scene) -> tuple[float, np.ndarray]:
    """Scale, and shift (x, y) before it, from px of the picture to px of the padded, resized square."""
    longer = max(scene.width, scene.height)
    return IMAGE_SIZE / longer, np.array([(longer - scene.width) // 2, (longer - scene.height) // 2])
