"""Scenes in words: global captions, listings, descriptions; and conversations about them."""

from collections.abc import Collection

import numpy as np

from viral.microworld.prompts import put
from viral.microworld.questions import ASKERS, PHRASE, name_of, pick, plural, related_pairs
from viral.microworld.scenes import COLOURS, Rng, Scene

SKILL_WEIGHTS = {
    "count": 0.26,
    "relation": 0.26,
    "existence": 0.16,
    "colour": 0.08,
    "shape": 0.06,
    "check": 0.08,
    "either": 0.10,
}
OFTEN = 0.4
"""How often a caption names colours, and how often the ground."""
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


def global_caption(scene: Scene, rng: Rng) -> str:
    """What an alt text tells: shapes, often colours and ground; not how many, where, or which is which."""
    shapes = rng.permutation([plural(shape) for shape in scene.shapes]).tolist()
    colours = rng.permutation(sorted({thing.colour for thing in scene.things})).tolist()
    parts = [_join(shapes)]
    # Colours and ground are easy to see and would do to tell most pictures apart; without them shapes have to.
    if rng.random() < OFTEN:
        parts.append(f"in {_join(colours)}")
    if rng.random() < OFTEN:
        parts.append(f"on {scene.ground}")
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


def description(scene: Scene, rng: Rng) -> str:
    """A full answer to 'describe the image': the listing, then one relation if there is one."""
    text = f"There are {listing(scene)}."
    pairs = related_pairs(scene)
    if pairs:
        thing, other, relation = pick(pairs, rng)
        text += f" The {name_of(thing, scene)} is {PHRASE[relation]} the {name_of(other, scene)}."
    return text


def dialogue(
    scene: Scene, rng: Rng, num_turns: int, skills: Collection[str] = tuple(SKILL_WEIGHTS)
) -> list[tuple[str, str]]:
    """Up to `num_turns` (prompt, answer) pairs about a scene, no two about the same things."""
    weights = np.array([SKILL_WEIGHTS[skill] for skill in skills])
    turns: list[tuple[str, str]] = []
    asked: set[frozenset[str]] = set()
    for skill in rng.choice(list(skills), size=num_turns, p=weights / weights.sum()):
        question = ASKERS[skill](scene, rng)
        if question is not None and frozenset(question.about) not in asked:
            asked.add(frozenset(question.about))
            turns.append(put(question, rng))
    return turns or [("Describe the image.", description(scene, rng))]


def _join(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
