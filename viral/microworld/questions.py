"""Questions about a scene, with answers computed from the scene: count, relation, existence, attributes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from viral.microworld.scenes import COLOURS, MAX_OF_A_SHAPE, SHAPES, Rng, Scene, Thing

T = TypeVar("T")

MIN_SEPARATION = 0.22
"""Two things have to differ by this fraction of the longer side, along the axis asked about."""
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
PHRASE = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}
YES_NO = ("yes", "no")


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its right answer and the wrong ones a multiple choice may offer.

    `about` names what is asked about, so that the same fact can be put in other words.
    """

    skill: str
    about: tuple[str, ...]
    text: str
    answer: str
    wrong: tuple[str, ...]


def plural(shape: str) -> str:
    """`cross` -> `crosses`, `star` -> `stars`."""
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"


def name_of(thing: Thing, scene: Scene) -> str | None:
    """The shortest name only this thing has: its shape, else colour and shape, else None."""
    if scene.count(thing.shape) == 1:
        return thing.shape
    twins = [other for other in scene.things if (other.shape, other.colour) == (thing.shape, thing.colour)]
    return f"{thing.colour} {thing.shape}" if len(twins) == 1 else None


def relation_between(first: Thing, second: Thing, scene: Scene) -> str | None:
    """Where `first` is with respect to `second`, along the axis that separates them more; None if unclear."""
    dx, dy = first.x - second.x, first.y - second.y
    if max(abs(dx), abs(dy)) < MIN_SEPARATION * max(scene.width, scene.height):
        return None
    if abs(dx) > abs(dy):
        return "left" if dx < 0 else "right"
    return "above" if dy < 0 else "below"


def related_pairs(scene: Scene) -> list[tuple[Thing, Thing, str]]:
    """Every (thing, other thing, relation) that can be asked about without ambiguity."""
    named = [thing for thing in scene.things if name_of(thing, scene)]
    return [
        (thing, other, relation)
        for thing in named
        for other in named
        if thing is not other and (relation := relation_between(thing, other, scene))
    ]


def ask_count(scene: Scene, rng: Rng) -> Question:
    """How many things there are of one thing's shape, in CV-Bench's words; 1 a third of the time, 5 rarely."""
    shape = pick(scene.things, rng).shape
    return count_question(shape, scene.count(shape))


def count_question(shape: str, number: int) -> Question:
    """The counting question about one shape."""
    wrong = tuple(str(other) for other in range(1, MAX_OF_A_SHAPE + 1) if other != number)
    return Question("count", (shape,), f"How many {plural(shape)} are in the image?", str(number), wrong)


def ask_relation(scene: Scene, rng: Rng) -> Question | None:
    """Where one thing is with respect to another, in CV-Bench's words: two opposite options."""
    pairs = related_pairs(scene)
    return relation_question(scene, *pick(pairs, rng)) if pairs else None


def relation_question(scene: Scene, first: Thing, second: Thing, relation: str) -> Question:
    """The question where the first thing is with respect to the second; both have a name of their own."""
    name, other = str(name_of(first, scene)), str(name_of(second, scene))
    text = (
        f"Considering the relative positions of the {name} and the {other} in the image provided, "
        f"where is the {name} located with respect to the {other}?"
    )
    return Question("relation", (name, other), text, relation, (OPPOSITE[relation],))


def ask_existence(scene: Scene, rng: Rng) -> Question:
    """Whether a shape is there, in POPE's words; as often about a present as about an absent one."""
    present = bool(rng.random() < 0.5)
    return existence_question(pick([s for s in SHAPES if (s in scene.shapes) == present], rng), present)


def existence_question(shape: str, present: bool) -> Question:
    """The yes/no question about one shape."""
    return _yes_no("existence", (shape,), f"Is there a {shape} in the image?", present)


def ask_colour(scene: Scene, rng: Rng) -> Question | None:
    """Colour of a shape that occurs once."""
    single = [thing for thing in scene.things if scene.count(thing.shape) == 1]
    return colour_question(pick(single, rng)) if single else None


def colour_question(thing: Thing) -> Question:
    """What colour a thing has."""
    wrong = tuple(colour for colour in COLOURS if colour != thing.colour)
    return Question("colour", (thing.shape,), f"What colour is the {thing.shape}?", thing.colour, wrong)


def ask_shape(scene: Scene, rng: Rng) -> Question | None:
    """Shape of the only thing of its colour."""
    colours = [thing.colour for thing in scene.things]
    single = [thing for thing in scene.things if colours.count(thing.colour) == 1]
    if not single:
        return None
    thing = pick(single, rng)
    wrong = tuple(shape for shape in SHAPES if shape != thing.shape)
    return Question("shape", (thing.colour,), f"What shape is the {thing.colour} thing?", thing.shape, wrong)


def ask_check(scene: Scene, rng: Rng) -> Question | None:
    """A claim about a count, a relation or a colour, wrong half of the time: yes or no."""
    question = pick((ask_count, ask_relation, ask_colour), rng)(scene, rng)
    if question is None:
        return None
    true = bool(rng.random() < 0.5)
    option = question.answer if true else pick(question.wrong, rng)
    return _yes_no("check", question.about, claim(question, option), true)


def ask_either(scene: Scene, rng: Rng) -> Question | None:
    """An either-or question, as MMVP asks them, about a count, a relation or a colour."""
    question = pick((ask_count, ask_relation, ask_colour), rng)(scene, rng)
    return either_or(question, pick(question.wrong, rng), rng) if question else None


def either_or(question: Question, wrong: str, rng: Rng) -> Question:
    """The same fact with two options named in the question, in random order."""
    options = [question.answer, wrong]
    if rng.random() < 0.5:
        options.reverse()
    phrases = [PHRASE.get(option, option) for option in options]
    text = claim(question, " or ".join(phrases))
    return Question("either", question.about, text, question.answer, (wrong,))


ASKERS: dict[str, Callable[[Scene, Rng], Question | None]] = {
    "count": ask_count,
    "relation": ask_relation,
    "existence": ask_existence,
    "colour": ask_colour,
    "shape": ask_shape,
    "check": ask_check,
    "either": ask_either,
}
"""Skill -> how to ask about it; None where the scene does not allow an unambiguous question."""

_CLAIMS = {
    "count": "Is the number of {plural} in the image {claim}?",
    "relation": "Is the {0} {claim} the {1}?",
    "colour": "Is the {0} {claim}?",
}


def claim(question: Question, option: str) -> str:
    """`option` as the answer to a question about a count, a relation or a colour, put as a yes/no question."""
    subject = question.about[0]
    return _CLAIMS[question.skill].format(
        *question.about, plural=plural(subject), claim=PHRASE.get(option, option)
    )


def _yes_no(skill: str, about: tuple[str, ...], text: str, true: bool) -> Question:
    answer, wrong = YES_NO if true else YES_NO[::-1]
    return Question(skill, about, text, answer, (wrong,))


def pick(options: Sequence[T], rng: Rng) -> T:
    """One of the options, uniformly, as it is (numpy's `choice` would convert it)."""
    return options[int(rng.integers(len(options)))]
