"""Scenes of the micro-world: coloured shapes on textured ground, as data and as pictures."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

Rng = np.random.Generator
Colour = tuple[int, int, int]

COLOURS = {
    "red": (214, 40, 40),
    "green": (46, 176, 62),
    "blue": (36, 84, 214),
    "yellow": (240, 212, 40),
    "purple": (150, 50, 176),
    "white": (244, 244, 244),
}
GROUNDS = {
    "sand": (176, 152, 112),
    "grass": (84, 104, 62),
    "water": (76, 116, 132),
    "stone": (112, 110, 108),
}
SIZES = ((96, 96), (96, 72), (72, 96))
"""Picture sizes (width, height) in px; half of all pictures are square."""

SUPERSAMPLE = 3
MIN_RADIUS, MAX_RADIUS = 0.10, 0.15
"""Radius of a thing as a fraction of the longer side."""
MAX_THINGS = 6


def _regular(corners: int, inner: float = 1.0, turn: float = 0.0) -> np.ndarray:
    """Outline [corners, 2] on the unit circle; every second corner at radius `inner`; `turn` in degrees."""
    angles = np.radians(turn - 90 + 360 / corners * np.arange(corners))
    radii = np.where(np.arange(corners) % 2, inner, 1.0)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 40)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y], axis=1) / 17


_BAR = 0.34
_CROSS = [(-_BAR, -1), (_BAR, -1), (_BAR, -_BAR), (1, -_BAR), (1, _BAR), (_BAR, _BAR)]
_CROSS += [(-x, -y) for x, y in _CROSS]
OUTLINES = {
    "circle": _regular(40),
    "square": _regular(4, turn=45),
    "triangle": _regular(3),
    "star": _regular(10, inner=0.42),
    "cross": np.array(_CROSS),
    "ring": np.concatenate([_regular(41)[[*range(41), 0]], 0.55 * _regular(41)[[0, *range(40, -1, -1)]]]),
    "diamond": _regular(4, inner=0.62),
    "heart": _heart(),
}
"""Corners [n, 2] of each shape around (0, 0), y down, in units of the radius."""
SHAPES = tuple(OUTLINES)


def _stripes(across: np.ndarray, period: float = 7.0) -> np.ndarray:
    return np.sin(2 * np.pi * across / period) > 0


MARKINGS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "square": lambda x, y: _stripes(x, 10) ^ _stripes(y, 10),
    "triangle": lambda x, y: _stripes(y),
    "star": lambda x, y: np.hypot(x, y) < 4,
    "cross": lambda x, y: _stripes(x),
    "diamond": lambda x, y: _stripes((x + y) / np.sqrt(2)),
    "heart": lambda x, y: x > 0,
}
"""Dark parts of a shape, by place in px from its middle; circle and ring are plain.

Outlines alone would take a small transformer hours to tell apart. Objects in photographs have textures too.
"""
DARKER = 0.3

POPULARITY = np.array([8, 7, 6, 5, 4, 3, 2, 2], dtype=float)
COMPANION = {shape: SHAPES[index ^ 1] for index, shape in enumerate(SHAPES)}
"""Shapes that like to appear together; gives the adversarial POPE split its meaning."""
COUNT_WEIGHTS = np.array([0.40, 0.20, 0.16, 0.13, 0.11])
"""Probability of 1, 2, ... things of one shape."""
MAX_OF_A_SHAPE = len(COUNT_WEIGHTS)
"""The largest number of things of one shape."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape: centre and radius in px of the picture, angle in degrees clockwise."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float
    angle: float


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture before it is drawn; `texture` seeds the ground's noise."""

    width: int
    height: int
    ground: str
    texture: int
    things: tuple[Thing, ...]

    def count(self, shape: str) -> int:
        """Number of things of a shape."""
        return sum(thing.shape == shape for thing in self.things)

    @property
    def shapes(self) -> tuple[str, ...]:
        """Shapes that are present, in the order of `SHAPES`."""
        return tuple(shape for shape in SHAPES if self.count(shape))


def scene_rng(seed: int, *index: int) -> Rng:
    """The random stream of one scene; independent of how many others are made."""
    return np.random.default_rng([seed, *index])


def sample_scene(rng: Rng, *, num_shapes: int | None = None, square: bool = False) -> Scene:
    """Draw a random scene of up to `MAX_THINGS` things that do not touch.

    Args:
        rng: stream to draw from.
        num_shapes: how many different shapes; None draws 1 to 3.
        square: only square pictures.
    """
    width, height = SIZES[0] if square or rng.random() < 0.5 else SIZES[1 + int(rng.integers(2))]
    shapes = _sample_shapes(rng, num_shapes or 1 + int(rng.choice(3, p=[0.2, 0.4, 0.4])))
    kinds: list[str] = []
    for index, shape in enumerate(shapes):
        still_needed = len(shapes) - index - 1
        wanted = 1 + int(rng.choice(len(COUNT_WEIGHTS), p=COUNT_WEIGHTS))
        kinds += [shape] * min(wanted, MAX_THINGS - len(kinds) - still_needed)
    places = _sample_places(rng, len(kinds), width, height)
    things = tuple(
        Thing(kind, str(rng.choice(list(COLOURS))), x, y, radius, float(rng.uniform(-12, 12)))
        for kind, (x, y, radius) in zip(kinds, places, strict=True)
    )
    order = rng.permutation(len(things))
    ground = str(rng.choice(list(GROUNDS)))
    return Scene(width, height, ground, int(rng.integers(2**31)), tuple(things[i] for i in order))


def corners(thing: Thing) -> np.ndarray:
    """Outline [n, 2] of a thing, in px of the picture."""
    angle = np.radians(thing.angle)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return OUTLINES[thing.shape] @ turn * thing.radius + (thing.x, thing.y)


def sample_portrait(rng: Rng) -> Scene:
    """A picture of one large thing, as most pictures with captions on the web are."""
    scene = sample_scene(rng, num_shapes=1)
    radius = float(rng.uniform(0.14, 0.36)) * min(scene.width, scene.height)
    x, y = (float(rng.uniform(radius, side - radius)) for side in (scene.width, scene.height))
    shape = str(rng.choice(SHAPES))
    return replace(scene, things=(replace(scene.things[0], shape=shape, x=x, y=y, radius=radius),))


def draw(scene: Scene) -> Image.Image:
    """Draw a scene, anti-aliased, as RGB [height, width]."""
    rng = np.random.default_rng(scene.texture)
    picture = _ground(scene, rng).resize(
        (scene.width * SUPERSAMPLE, scene.height * SUPERSAMPLE), Image.Resampling.NEAREST
    )
    pen = ImageDraw.Draw(picture)
    for thing in scene.things:
        outline = [(x, y) for x, y in (corners(thing) * SUPERSAMPLE).tolist()]
        colour = _shade(thing.colour, rng)
        pen.polygon(outline, fill=colour)
        if thing.shape in MARKINGS:
            _mark(picture, thing, outline, colour)
    return picture.reduce(SUPERSAMPLE)


def _ground(scene: Scene, rng: Rng) -> Image.Image:
    """Muted base colour, soft large blotches and fine grain."""
    blotches = Image.fromarray(rng.integers(0, 256, size=(6, 6), dtype=np.uint8))
    blotches = blotches.resize((scene.width, scene.height), Image.Resampling.BICUBIC)
    relief = (np.asarray(blotches, dtype=np.float32) - 128) * 0.22
    relief += rng.normal(0, 7, size=relief.shape)
    base = np.array(GROUNDS[scene.ground]) + rng.normal(0, 6, size=3)
    return Image.fromarray(np.clip(base + relief[..., None], 0, 255).astype(np.uint8))


def _mark(picture: Image.Image, thing: Thing, outline: list[tuple[float, float]], colour: Colour) -> None:
    """Darken the marked parts of a thing that has just been drawn on the supersampled picture."""
    left, top = (int(SUPERSAMPLE * (place - thing.radius)) - 1 for place in (thing.x, thing.y))
    side = int(2 * SUPERSAMPLE * thing.radius) + 3
    inside = Image.new("1", (side, side))
    ImageDraw.Draw(inside).polygon([(x - left, y - top) for x, y in outline], fill=1)
    y, x = np.mgrid[top : top + side, left : left + side] / SUPERSAMPLE
    marked = MARKINGS[thing.shape](x - thing.x, y - thing.y) & np.asarray(inside)
    dark = tuple(int(DARKER * channel) for channel in colour)
    picture.paste(dark, (left, top), Image.fromarray(marked))


def _shade(colour: str, rng: Rng) -> Colour:
    red, green, blue = np.clip(np.array(COLOURS[colour]) + rng.integers(-14, 15, size=3), 0, 255).tolist()
    return red, green, blue


def _sample_shapes(rng: Rng, number: int) -> list[str]:
    """Distinct shapes by popularity; the second is the first one's companion half of the time."""
    shapes: list[str] = []
    while len(shapes) < number:
        if len(shapes) == 1 and rng.random() < 0.5:
            shape = COMPANION[shapes[0]]
        else:
            shape = str(rng.choice(SHAPES, p=POPULARITY / POPULARITY.sum()))
        if shape not in shapes:
            shapes.append(shape)
    return shapes


def _sample_places(rng: Rng, number: int, width: int, height: int) -> list[tuple[float, float, float]]:
    """(x, y, radius) of things that neither touch nor leave the picture; starts over when it gets stuck."""
    longer = max(width, height)
    while True:
        places: list[tuple[float, float, float]] = []
        for _ in range(number * 12):
            r = float(rng.uniform(MIN_RADIUS, MAX_RADIUS)) * longer
            x, y = float(rng.uniform(r, width - r)), float(rng.uniform(r, height - r))
            if all(np.hypot(x - px, y - py) > r + pr + 1 for px, py, pr in places):
                places.append((x, y, r))
            if len(places) == number:
                return places
