"""Scenes in words: global captions, listings, and pages that give places; and conversations about them."""

from viral.microworld.prompts import put
from viral.microworld.questions import ASKERS, PHRASE, name_of, pick, plural, related_pairs
from viral.microworld.scenes import COLOURS, Rng, Scene, Thing

SKILL_WEIGHTS = {
    "count": 0.26,
    "relation": 0.26,
    "existence": 0.16,
    "colour": 0.08,
    "shape": 0.06,
    "check": 0.08,
    "either": 0.10,
}
GRID = 8
"""Places in words are columns and rows from 1 to 8, counted from the top left."""
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


def global_caption(scene: Scene, rng: Rng) -> str:
    """What an alt text tells: ground, shapes and colours; not how many, where, or which is which."""
    shapes = rng.permutation([plural(shape) for shape in scene.shapes]).tolist()
    colours = rng.permutation(sorted({thing.colour for thing in scene.things})).tolist()
    parts = [_join(shapes), f"in {_join(colours)}", f"on {scene.ground}"]
    frame = pick(("a picture of {}", "{}", "a photo of {}", "an image with {}"), rng)
    return frame.format(" ".join(parts))


def listing(scene: Scene) -> str:
    """What there is, shape by shape: `two red and blue stars and one white ring on sand`."""
    parts = []
    for shape in scene.shapes:
        colours = [thing.colour for thing in scene.things if thing.shape == shape]
        noun = shape if len(colours) == 1 else plural(shape)
        parts.append(f"{NUMBERS[len(colours)]} {_join([c for c in COLOURS if c in colours])} {noun}")
    return f"{_join(parts)} on {scene.ground}"


def page(scene: Scene, rng: Rng) -> str:
    """Every thing with its place, in reading order or shuffled."""
    things = sorted(scene.things, key=lambda thing: (row_of(thing, scene), thing.x))
    if rng.random() < 0.5:
        things = [things[i] for i in rng.permutation(len(things))]
    return " ".join(
        f"{t.colour} {t.shape} column {column_of(t, scene)} row {row_of(t, scene)}." for t in things
    )


def column_of(thing: Thing, scene: Scene) -> int:
    """Column 1..GRID of a thing's centre in the padded square."""
    longer = max(scene.width, scene.height)
    return 1 + int(GRID * (thing.x + (longer - scene.width) / 2) / longer)


def row_of(thing: Thing, scene: Scene) -> int:
    """Row 1..GRID of a thing's centre in the padded square."""
    longer = max(scene.width, scene.height)
    return 1 + int(GRID * (thing.y + (longer - scene.height) / 2) / longer)


def description(scene: Scene, rng: Rng) -> str:
    """A full answer to 'describe the image': the listing, then one relation if there is one."""
    text = f"There are {listing(scene)}."
    pairs = related_pairs(scene)
    if pairs:
        thing, other, relation = pick(pairs, rng)
        text += f" The {name_of(thing, scene)} is {PHRASE[relation]} the {name_of(other, scene)}."
    return text


def dialogue(scene: Scene, rng: Rng, num_turns: int) -> list[tuple[str, str]]:
    """Up to `num_turns` (prompt, answer) pairs about a scene, no two about the same things."""
    skills, weights = list(SKILL_WEIGHTS), list(SKILL_WEIGHTS.values())
    turns: list[tuple[str, str]] = []
    asked: set[frozenset[str]] = set()
    for _ in range(num_turns):
        question = ASKERS[skills[int(rng.choice(len(skills), p=weights))]](scene, rng)
        if question is not None and frozenset(question.about) not in asked:
            asked.add(frozenset(question.about))
            turns.append(put(question, rng))
    return turns or [("Describe the image.", description(scene, rng))]


def _join(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
